# SPDX-License-Identifier: MIT
"""Executors that end cleanly, and a test run that ends with its last test.

Needs pytest alone. Copy the file into ``tests/``, and import the fixture in
``tests/conftest.py``; it applies itself::

    from concurrent_futures_fix import fix_concurrent_futures  # noqa: F401

During the tests errors stay errors. At the end every executor of the session is shut
down, its queue cancelled, its processes killed, and those of ``multiprocessing`` too.
What MQTT callbacks or timers submit later is refused without noise: the future is
cancelled, and the summary says how often and from where. So "cannot schedule new
futures after interpreter shutdown" does not come up. Threads that would keep Python
alive are named, with their stack, and let go.

It replaces ``ThreadPoolExecutor.__init__``, to know the executors, from the import to
the end of the run; nothing of ``threading``, ``time``, ``signal`` or ``logging``. Only
where a thread has to be let go on Python 3.13, ``threading._thread_shutdown`` is
replaced as well, at the very end.

For a shorter stretch: ``with ConcurrentFuturesFix(): service = Service()``. For an
executor of your own that outlives its users: ``SafeExecutor(max_workers=4)``.
"""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import thread as thread_pools
from typing import Any, Callable, TypeVar

import pytest

T = TypeVar("T")

GRACE = 0.2
"""Seconds that running work gets to end by itself."""

SHUTDOWN_MESSAGES = (
    "cannot schedule new futures after shutdown",
    "cannot schedule new futures after interpreter shutdown",
    "can't create new thread at interpreter shutdown",  # Python 3.12
)

# Tests may replace these by mocks.
_Thread, _Timer, _monotonic = (
    threading.Thread,
    threading.Timer,
    functools.partial(time.monotonic),
)


late_submissions: Counter[str] = Counter()
"""How often work was refused, by what it was and where it came from."""


def _refuse(fn: Callable[..., Any], /, *_args: Any, **_kwargs: Any) -> Future[Any]:
    """Return a cancelled future: what waits for it learns that nothing was done."""
    name = getattr(fn, "__qualname__", None) or repr(fn)
    late_submissions[f"{name}, submitted at {_caller()}"] += 1
    future: Future[Any] = Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    return future


def _caller() -> str:
    """Name the innermost line outside this file and the standard library's executors."""
    ours = {__file__, concurrent.futures._base.__file__, functools.__file__}
    lines = ((frame.f_code.co_filename, n) for frame, n in traceback.walk_stack(None))
    return next((f"{file}:{n}" for file, n in lines if file not in ours), "unknown")


class SafeExecutor(Executor):
    """An executor whose late submissions are cancelled futures instead of errors.

    Usage: ``SafeExecutor(max_workers=4)``, ``SafeExecutor(ProcessPoolExecutor, 2)``, or
    around an executor that exists, ``SafeExecutor(executor)``. Errors other than a
    shutdown's are raised as always.

    Args:
        executor: an executor, or the class of one; a thread pool if it is left out.
        *args: for the class.
        **kwargs: for the class.
    """

    def __init__(
        self,
        executor: Executor | type[Executor] = ThreadPoolExecutor,
        *args: Any,
        **kwargs: Any,
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
        self._executor = executor

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit as always; return a cancelled future where the executor or Python is ending."""
        try:
            return self._executor.submit(fn, *args, **kwargs)
        except RuntimeError as error:
            if str(error) not in SHUTDOWN_MESSAGES:
                raise
            return _refuse(fn)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the wrapped executor down."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


_MADE_BY = "_made_by_of_concurrent_futures_fix"
_patch = pytest.MonkeyPatch()
_blocks: list[ConcurrentFuturesFix] = []  # the patch is there while there is one
# By id: a subclass may not be hashable.
_thread_pools: weakref.WeakValueDictionary[int, Executor] = weakref.WeakValueDictionary()


def _note_thread_pools() -> None:
    initialise = ThreadPoolExecutor.__init__

    @functools.wraps(initialise)
    def initialise_and_note(executor: ThreadPoolExecutor, *args: Any, **kwargs: Any) -> None:
        initialise(executor, *args, **kwargs)
        vars(executor)[_MADE_BY] = weakref.ref(threading.current_thread())
        _thread_pools[id(executor)] = executor

    _patch.setattr(ThreadPoolExecutor, "__init__", initialise_and_note)


def _all_executors() -> list[Any]:
    """Return the thread pools that were noted, and all executors that have a worker."""
    found: list[Any] = list(_thread_pools.values())
    for reference in thread_pools._threads_queues.keyrefs():  # type: ignore[attr-defined]
        # A worker has its executor, by a weak reference, as its first argument.
        arguments = getattr(reference(), "_args", ())
        found += [argument() for argument in arguments[:1] if isinstance(argument, weakref.ref)]
    processes: Any = sys.modules.get("concurrent.futures.process")
    managers = [ref() for ref in processes._threads_wakeups.keyrefs()] if processes else []
    found += [manager.executor_reference() for manager in managers if manager]
    return list({id(executor): executor for executor in found if executor is not None}.values())


def _retire(executor: Any) -> set[threading.Thread]:
    """Shut *executor* down for good and return its threads, which may take a moment to end."""
    threads = threads_of(executor)
    processes = processes_of(executor)
    vars(executor)["submit"] = _refuse
    # Past an override: a subclass may know an older signature, or wait.
    base: Any = next(c for c in type(executor).__mro__ if c.__module__.startswith("concurrent."))
    base.shutdown(executor, wait=False, cancel_futures=True)
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


def kill(processes: Iterable[Any]) -> None:
    """Kill processes of ``multiprocessing``, and wait for their ends."""
    for process in processes:
        process.kill()
        process.join(GRACE)


class ConcurrentFuturesFix:
    """Ends the executors, and kills the processes, that a ``with`` block makes and leaves.

    Usage: ``with ConcurrentFuturesFix(): service = Service()``. Afterwards ``stuck``
    lists, as text, the workers that would not end: they run on and do not keep Python
    alive. What threads make that ran before the block is theirs.
    """

    def __init__(self) -> None:
        self.stuck: list[str] = []
        self._strangers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._executors_before: dict[int, Callable[[], Any]] = {}

    def __enter__(self) -> ConcurrentFuturesFix:
        self._strangers.update(set(threading.enumerate()) - {threading.current_thread()})
        self._executors_before = {id(e): weakref.ref(e) for e in _all_executors()}
        self._begin()
        return self

    def _begin(self) -> None:
        if not _blocks:
            _note_thread_pools()
        _blocks.append(self)

    def __exit__(self, *_exc_info: object) -> None:
        try:
            self.give_up(self.shut_down(), "its executor was shut down")
        finally:
            _blocks.remove(self)
            if not _blocks:
                _patch.undo()

    def shut_down(self) -> list[threading.Thread]:
        """Shut down the block's executors; return their threads that still run after a moment."""
        executors = [e for e in _all_executors() if vars(e).get("submit") is not _refuse]
        ours = [executor for executor in executors if self._owns(executor)]
        threads = {thread for executor in ours for thread in _retire(executor)}
        return join(threads)

    def of_others(self) -> list[Any]:
        """Return the executors that are none of the block's."""
        return [executor for executor in _all_executors() if not self._owns(executor)]

    def give_up(self, threads: Iterable[threading.Thread], after: str) -> None:
        """Let go of *threads* that do not end, and name them in ``stuck``, once."""
        for thread in threads:
            if let_go(thread):
                self.stuck.append(_describe_stuck(thread, after))

    def _owns(self, executor: Any) -> bool:
        known = self._executors_before.get(id(executor))
        maker = vars(executor).get(_MADE_BY, lambda: None)()
        return not (known and known() is executor) and maker not in self._strangers


def join(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Wait a moment for *threads*, the same for all of them; return those that still run."""
    deadline = _monotonic() + GRACE
    others = [thread for thread in threads if thread is not threading.current_thread()]
    for thread in others:
        if thread._started.wait(max(0.0, deadline - _monotonic())):  # type: ignore[attr-defined]
            # Past an override, which may wait for something else.
            _Thread.join(thread, max(0.0, deadline - _monotonic()))
    return [thread for thread in others if thread.is_alive()]


def let_go(thread: threading.Thread) -> bool:
    """Keep Python, and what is registered for its exit, from joining *thread*.

    Returns whether that is news.
    """
    if vars(thread).get("join") is _return_at_once:
        return False
    thread.join = _return_at_once  # type: ignore[method-assign]
    thread_pools._threads_queues.pop(thread, None)  # type: ignore[attr-defined]
    processes: Any = sys.modules.get("concurrent.futures.process")
    if processes:
        processes._threads_wakeups.pop(thread, None)
    if not thread.daemon:
        thread._daemonic = True  # type: ignore[attr-defined]
        if hasattr(threading, "_shutdown_locks"):
            lock = thread._tstate_lock  # type: ignore[attr-defined]
            threading._shutdown_locks.discard(lock)
        else:  # since Python 3.13, which has a list of its own
            threading._thread_shutdown = _join_non_daemons  # type: ignore[attr-defined]
    return True


def _return_at_once(timeout: float | None = None) -> None:
    pass


def _join_non_daemons() -> None:
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()


def stack_of(thread: threading.Thread) -> str:
    """Return where *thread* stands, as text like a traceback's."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "  (it has just ended)\n"


_SEEN_IN = "_first_seen_in_test"


def _describe_stuck(thread: threading.Thread, after: str) -> str:
    current = os.environ.get("PYTEST_CURRENT_TEST", "no test (").rpartition(" (")[0]
    return (
        f"{thread.name} runs on after {after}; it was started in "
        f"{vars(thread).get(_SEEN_IN, current)}. Have what it waits for time out, or end "
        f"with the service. It stands in:\n{stack_of(thread)}"
    )


class _WholeRun(ConcurrentFuturesFix):
    """A plugin that sees to it that pytest's process ends, and says what would not."""

    NAME = "concurrent-futures-fix"
    STUCK = "threads that would not end"
    NO_TEST = "no test"

    def __init__(self, threads_of_others: Iterable[threading.Thread]) -> None:
        super().__init__()
        self._not_ours = {threading.main_thread(), *threads_of_others}
        self._left: list[threading.Thread] = []
        self._of_xdist: dict[str, list[str]] = {}  # whose workers have no terminal
        self._begin()  # without __enter__: what was there before is ended, too

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self._note_new_threads(self.NO_TEST)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        self._note_new_threads(item.nodeid)

    @staticmethod
    def _note_new_threads(where: str) -> None:
        for thread in threading.enumerate():
            vars(thread).setdefault(_SEEN_IN, where)

    # pytest is about to close the streams that it has captured.
    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._silence(threading.enumerate())

    pytest_internalerror = pytest_keyboard_interrupt

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        yield  # to the end of all fixtures
        self.give_up(self.shut_down(), "its executor was shut down")
        self._left = threading.enumerate()  # what others start from here on is theirs
        of_tests = [t for t in self._left if vars(t).get(_SEEN_IN) != self.NO_TEST]
        self._end_threads(of_tests)
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[self.NAME] = self._sections()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sections = getattr(node, "workeroutput", {}).get(self.NAME, {})
        for title, lines in sections.items():
            self._of_xdist.setdefault(title, []).extend(lines)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        _print_sections(terminalreporter, self._sections())
        _print_sections(terminalreporter, self._of_xdist)

    def _sections(self) -> dict[str, list[str]]:
        late = "late submissions to executors (refused)"
        return {
            late: [f"{n} x {origin}" for origin, n in late_submissions.most_common()],
            self.STUCK: self.stuck,
        }

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        told = len(self.stuck)
        self.__exit__()
        self._end_threads(self._left)  # plugins have had the time to end their own
        terminalreporter = config.pluginmanager.get_plugin("terminalreporter")
        if terminalreporter is not None:
            _print_sections(terminalreporter, {self.STUCK: self.stuck[told:]})
        self._silence(self._left)

    def _end_threads(self, threads: Iterable[threading.Thread]) -> None:
        """Cancel timers, and let go of all that go on; name those that keep Python."""
        ours = [thread for thread in threads if thread not in self._not_ours]
        for thread in ours:
            if isinstance(thread, _Timer):
                thread.cancel()
        multiprocessing: Any = sys.modules.get("multiprocessing")
        kill(multiprocessing.active_children() if multiprocessing else ())
        self.give_up(join(t for t in ours if not t.daemon), "the last test")
        for thread in ours:
            let_go(thread)

    def _silence(self, threads: Iterable[threading.Thread]) -> None:
        """Drop what threads log or raise from here on, which would only be noise."""
        going_on = {t for t in threads if t.is_alive()} - self._not_ours
        for thread in going_on:
            thread._invoke_excepthook = _ignore  # type: ignore[attr-defined]
        handlers = logging._handlerList if going_on else []  # type: ignore[attr-defined]
        for handler in [reference() for reference in handlers]:
            kind = type(getattr(handler, "stream", None)).__module__
            if handler is logging.lastResort or kind.startswith("_pytest."):
                handler.addFilter(_ignore)


def _ignore(*_args: Any) -> bool:
    return False


def _print_sections(terminalreporter: Any, sections: dict[str, list[str]]) -> None:
    for title, lines in sections.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.line(line)


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


def _register(
    manager: pytest.PytestPluginManager, threads_of_others: Iterable[threading.Thread]
) -> None:
    if not manager.has_plugin(_WholeRun.NAME):
        manager.register(_WholeRun(threads_of_others), _WholeRun.NAME)


@pytest.fixture(scope="session", autouse=True)
def fix_concurrent_futures(pytestconfig: pytest.Config) -> ConcurrentFuturesFix:
    """Applies the fix to the whole session; import it in conftest.py, no more."""
    manager = pytestconfig.pluginmanager
    _register(manager, threading.enumerate())  # where a test module has imported this
    whole_run: Any = manager.get_plugin(_WholeRun.NAME)
    return whole_run  # type: ignore[no-any-return]


_join_pytest()
