# SPDX-License-Identifier: MIT
"""Executors that end cleanly, and a test run that ends with its last test.

Needs pytest alone. Copy the file into ``tests/``, and write in ``conftest.py``::

    from concurrent_futures_fix import fix_concurrent_futures  # noqa: F401

During the tests errors stay errors. At the end every executor is shut down, its queue
cancelled, its processes killed, and those of ``multiprocessing`` too. What MQTT callbacks
or timers submit later gets a cancelled future, and the summary says how often and from
where; so "cannot schedule new futures after interpreter shutdown" does not come up.
Threads that would keep Python alive are named, with their stack, and let go.

It replaces the constructors of executors, to know them, from the import to the end of
the run; and ``threading._thread_shutdown`` where it lets go on Python 3.13 or later.

For a shorter stretch: ``with ConcurrentFuturesFix(): service = Service()``. For an
executor of your own that outlives its users: ``SafeExecutor(max_workers=4)``.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

GRACE = 0.2  # seconds that running work gets to end by itself
SHUTDOWN_MESSAGES = (
    "cannot schedule new futures after shutdown",
    "cannot schedule new futures after interpreter shutdown",
    "can't create new thread at interpreter shutdown",  # Python 3.12
)
late_submissions: Counter[str] = Counter()  # by what it was and where it came from
_Thread, _Timer = threading.Thread, threading.Timer  # tests may have mocks there
_monotonic = functools.partial(time.monotonic)


def _refuse(fn: Callable[..., Any], /, *_args: Any, **_kwargs: Any) -> Future[Any]:
    """Return a cancelled future: what waits for it learns that nothing was done."""
    ours = {__file__, sys.modules[Future.__module__].__file__, functools.__file__}
    lines = ((frame.f_code.co_filename, n) for frame, n in traceback.walk_stack(None))
    caller = next((f"{file}:{n}" for file, n in lines if file not in ours), "unknown")
    name = getattr(fn, "__qualname__", None) or repr(fn)
    late_submissions[f"{name}, submitted at {caller}"] += 1
    future: Future[Any] = Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    return future


class SafeExecutor(Executor):
    """An executor whose late submissions are cancelled futures instead of errors.

    Usage: ``SafeExecutor(max_workers=4)``, ``SafeExecutor(ProcessPoolExecutor, 2)``, or
    around an executor that exists, ``SafeExecutor(executor)``. Errors other than a
    shutdown's are raised as always.
    """

    def __init__(
        self, executor: Any = ThreadPoolExecutor, *args: Any, **kwargs: Any
    ) -> None:
        if isinstance(executor, type) and issubclass(executor, Executor):
            executor = executor(*args, **kwargs)
        elif args or kwargs:
            raise TypeError("an executor that exists takes no further arguments")
        if not isinstance(executor, Executor):
            raise TypeError(
                f"SafeExecutor wraps an executor or the class of one, not {executor!r}; "
                "for a thread pool of a given size write SafeExecutor(max_workers=4)"
            )
        self._executor: Executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Future[Any]:
        """Submit as always, or return a cancelled future at the end of it all."""
        try:
            return self._executor.submit(fn, *args, **kw)
        except RuntimeError as error:
            if str(error) not in SHUTDOWN_MESSAGES:
                raise
            return _refuse(fn)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the wrapped executor down."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


_MADE, _LET_GO, _SEEN_IN = "_made_in_tests", "_let_go_in_tests", "_seen_in_tests"
_numbers = itertools.count()
_blocks: list[ConcurrentFuturesFix] = []  # the patch is there while there is one
_patch = pytest.MonkeyPatch()
# By id: a subclass may not be hashable.
_made: weakref.WeakValueDictionary[int, Executor] = weakref.WeakValueDictionary()


def _note_new_executors() -> None:
    """Note executors as they are made; those with processes once they are imported."""
    processes = sys.modules.get("concurrent.futures.process")
    for cls in (ThreadPoolExecutor, getattr(processes, "ProcessPoolExecutor", None)):
        if cls is not None and not hasattr(cls.__init__, _MADE):
            _patch.setattr(cls, "__init__", _noting(cls.__init__))


def _noting(initialise: Any) -> Any:
    @functools.wraps(initialise)
    def initialise_and_note(executor: Any, *args: Any, **kwargs: Any) -> None:
        initialise(executor, *args, **kwargs)
        vars(executor)[_MADE] = next(_numbers), weakref.ref(threading.current_thread())
        _made[id(executor)] = executor

    setattr(initialise_and_note, _MADE, None)
    return initialise_and_note


def _threads_at_exit() -> Iterator[Any]:
    """Give what Python's executors join at its exit, by thread."""
    yield vars(sys.modules["concurrent.futures.thread"])["_threads_queues"]
    if "concurrent.futures.process" in sys.modules:
        yield vars(sys.modules["concurrent.futures.process"])["_threads_wakeups"]


def all_executors() -> list[Any]:
    """Return the executors that were noted, and all others that have a thread."""
    found: list[Any] = list(_made.values())
    for thread in [ref() for known in _threads_at_exit() for ref in known.keyrefs()]:
        # A worker has its executor, by a weak reference, as its first argument.
        first = next(iter(getattr(thread, "_args", ())), lambda: None)
        found.append(getattr(thread, "executor_reference", first)())
    return list({id(e): e for e in found if isinstance(e, Executor)}.values())


def _retire(executor: Any) -> set[threading.Thread]:
    """Shut *executor* down for good; return its threads, which may not have ended."""
    threads, processes = threads_of(executor), processes_of(executor)
    vars(executor)["submit"] = _refuse
    # Past an override: a subclass may know an older signature, or wait.
    classes: Any = type(executor).__mro__
    own = next(cls for cls in classes if cls.__module__.startswith("concurrent."))
    own.shutdown(executor, wait=False, cancel_futures=True)
    kill(processes)
    return threads | threads_of(executor)  # and what a last submission has started


def threads_of(executor: Any) -> set[threading.Thread]:
    """Return the threads of an executor."""
    feeder = getattr(getattr(executor, "_call_queue", None), "_thread", None)
    helpers: set[Any] = {feeder, getattr(executor, "_executor_manager_thread", None)}
    return helpers - {None} | set(getattr(executor, "_threads", ()))


def processes_of(executor: Any) -> list[Any]:
    """Return the worker processes of an executor."""
    return list((getattr(executor, "_processes", None) or {}).values())


def kill(processes: Collection[Any]) -> None:
    """Kill processes of ``multiprocessing``, and wait for their ends."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join(GRACE)


class ConcurrentFuturesFix:
    """Ends the executors that a ``with`` block makes, and what they run.

    Usage: ``with ConcurrentFuturesFix(): service = Service()``. Afterwards ``stuck``
    lists, as text, the workers that would not end: they run on and do not keep Python
    alive. What threads make that ran before the block is theirs.
    """

    def __init__(self) -> None:
        self.stuck: list[str] = []
        self._strangers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._first_number = -2

    def __enter__(self) -> ConcurrentFuturesFix:  # noqa: PYI034
        self._strangers.update(threading.enumerate())
        self._strangers.discard(threading.current_thread())
        self._first_number = next(_numbers)
        _note_new_executors()
        _blocks.append(self)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        try:
            self.give_up(join(self.shut_down()), "its executor was shut down")
        finally:
            _blocks.remove(self)
            if not _blocks:
                _patch.undo()

    def shut_down(self) -> set[threading.Thread]:
        """Shut down the block's executors; return their threads, which may go on."""
        ours = [e for e in all_executors() if self.owns(e)]
        new = [executor for executor in ours if vars(executor).get("submit") != _refuse]
        return {thread for executor in new for thread in _retire(executor)}

    def give_up(self, threads: Iterable[threading.Thread], after: str) -> None:
        """Let go of *threads* that do not end, and name them in ``stuck``, once."""
        self.stuck += [_describe(thread, after) for thread in threads if let_go(thread)]

    def owns(self, executor: Any) -> bool:
        """Return whether an executor was made in the block, and by none of its strangers."""
        number, made_by = vars(executor).get(_MADE, (-1, lambda: None))
        return number > self._first_number and made_by() not in self._strangers


def join(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Wait a moment for all of *threads*; return those that still run."""
    deadline = _monotonic() + GRACE
    others: list[Any] = [t for t in threads if t is not threading.current_thread()]
    for thread in others:
        if thread._started.wait(max(0.0, deadline - _monotonic())):
            # Past an override, which may wait for something else.
            _Thread.join(thread, max(0.0, deadline - _monotonic()))
    return [thread for thread in others if thread.is_alive()]


def let_go(thread: Any) -> bool:
    """Keep Python from joining *thread* at its exit; return whether that is news."""
    if _LET_GO in vars(thread):
        return False
    vars(thread).update({_LET_GO: True, "join": lambda *_args, **_kw: None})
    for threads in _threads_at_exit():
        threads.pop(thread, None)
    if not thread.daemon:
        thread._daemonic = True
        if hasattr(threading, "_shutdown_locks"):
            vars(threading)["_shutdown_locks"].discard(thread._tstate_lock)
        else:  # since Python 3.13, which has a list of its own
            vars(threading)["_thread_shutdown"] = _join_non_daemons
    return True


def _join_non_daemons() -> None:
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        if not thread.daemon:
            thread.join()


def stack_of(thread: threading.Thread) -> str:
    """Return where *thread* stands, as text like a traceback's."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "  (it has ended)\n"


def _describe(thread: threading.Thread, after: str) -> str:
    origin = vars(thread).get(_SEEN_IN) or os.environ.get("PYTEST_CURRENT_TEST")
    return (
        f"{thread.name} runs on after {after}; it was started in {origin}. Let what it "
        f"waits for time out, or end with the service. It stands in:\n{stack_of(thread)}"
    )


class _WholeRun(ConcurrentFuturesFix):
    """A plugin that sees to it that pytest's process ends, and says what would not."""

    NAME, STUCK = "concurrent-futures-fix", "threads that would not end"
    NO_TEST = "no test"

    def __init__(self, others: Collection[threading.Thread]) -> None:
        super().__init__()
        self._not_ours = {threading.main_thread(), *others}
        self._loggers_of_tasks = () if others else ("asyncio",)
        self._left: list[threading.Thread] = []
        self._of_xdist: list[Any] = []  # whose workers have no terminal
        _note_new_executors()  # without __enter__: what was there before is ended, too
        _blocks.append(self)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self._note_new_threads(self.NO_TEST)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: object) -> None:
        self._note_new_threads(item.nodeid)
        if nextitem is None:  # and the fixtures of the session are torn down
            self._end_tests()

    @staticmethod
    def _note_new_threads(where: str) -> None:
        for thread in threading.enumerate():
            vars(thread).setdefault(_SEEN_IN, where)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._silence()  # pytest is about to close the streams that it has captured

    pytest_internalerror = pytest_keyboard_interrupt

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        yield
        self._end_tests()
        self._left = threading.enumerate()  # what others start from here on is theirs
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[self.NAME] = self._sections()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._of_xdist.append(getattr(node, "workeroutput", {}).get(self.NAME, {}))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for sections in (self._sections(), *self._of_xdist):
            self._print(terminalreporter, sections)

    @staticmethod
    def _print(terminalreporter: Any, sections: dict[str, list[str]]) -> None:
        for title, lines in sections.items():
            if lines and terminalreporter:
                terminalreporter.section(title)
                terminalreporter.write("\n".join([*lines, ""]))

    def _sections(self) -> dict[str, list[str]]:
        late = [f"{n} x {origin}" for origin, n in late_submissions.most_common()]
        return {"late submissions to executors (refused)": late, self.STUCK: self.stuck}

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        told = len(self.stuck)
        self.__exit__()
        self._end_threads(self._left)  # plugins have had the time to end their own
        terminalreporter = config.pluginmanager.get_plugin("terminalreporter")
        self._print(terminalreporter, {self.STUCK: self.stuck[told:]})
        self._silence(*self._loggers_of_tasks)

    def _end_tests(self) -> None:
        self._silence()
        threads = threading.enumerate()
        new = [t for t in threads if vars(t).get(_SEEN_IN) != self.NO_TEST]
        self._end_threads(new, self.shut_down())

    def _end_threads(self, threads: Iterable[Any], workers: Iterable[Any] = ()) -> None:
        """Cancel timers, and let go of all that go on; name those that keep Python."""
        multiprocessing: Any = sys.modules.get("multiprocessing")
        children = multiprocessing.active_children() if multiprocessing else ()
        # Pools end by themselves, but not without their workers.
        kill([child for child in children if "PoolWorker" not in child.name])
        ours = [thread for thread in threads if thread not in self._not_ours]
        for timer in [thread for thread in ours if isinstance(thread, _Timer)]:
            timer.cancel()
        stuck = join({*workers, *(thread for thread in ours if not thread.daemon)})
        self.give_up(stuck, "the last test")
        for thread in ours:
            let_go(thread)

    def _silence(self, *names: str) -> None:
        """Drop what threads log or raise from here on, and loggers of these *names*."""
        others: set[Any] = set(threading.enumerate()) - self._not_ours
        for thread in others:
            thread._invoke_excepthook = lambda *_: None
        main = threading.main_thread().ident  # as Python ends, there is no `threading`
        references: Any = vars(logging)["_handlerList"] if others or names else ()
        for handler in [reference() for reference in references]:
            kind = type(getattr(handler, "stream", None)).__module__
            if handler is logging.lastResort or kind.startswith("_pytest."):
                handler.addFilter(lambda r: r.thread == main and r.name not in names)
                handler.handleError = lambda _: None  # of what is just being written


def _join_pytest() -> None:
    """Register with the pytest whose conftest.py or plugin imports this."""
    callers = [frame for frame, _ in traceback.walk_stack(None)]
    names = {frame.f_code.co_name for frame in callers}
    if names & {"pytest_runtest_protocol", "collect_one_node"}:
        return  # it is a test that imports it
    # A program that calls pytest.main() has threads of its own.
    by_xdist = any(f.f_globals.get("__name__") == "__channelexec__" for f in callers)
    by_command = by_xdist or names & {"console_main", "_console_main"}
    for manager in (frame.f_locals.get("self") for frame in callers):
        if isinstance(manager, pytest.PytestPluginManager):
            _register(manager, () if by_command else threading.enumerate())


def _register(manager: Any, others: Collection[threading.Thread]) -> _WholeRun:
    if not manager.has_plugin(_WholeRun.NAME):
        manager.register(_WholeRun(others), _WholeRun.NAME)
    return manager.get_plugin(_WholeRun.NAME)  # type: ignore[no-any-return]


@pytest.fixture(scope="session", autouse=True)
def fix_concurrent_futures(pytestconfig: pytest.Config) -> ConcurrentFuturesFix:
    """Applies the fix to the whole session; import it in conftest.py, no more."""
    return _register(pytestconfig.pluginmanager, threading.enumerate())


_join_pytest()
