"""Executors that end cleanly, and a test run that ends with its last test.

Needs pytest alone, and none of the other modules. Copy the file into ``tests/`` and import the
fixture in ``tests/conftest.py``; it applies itself::

    from concurrent_futures_fix import fix_concurrent_futures

What it changes:

- From the import on, threads that are started, executor workers included, are daemons, so that
  none keeps the process alive, and their sleeps and waits can be interrupted. SIGTERM ends the run
  as Ctrl-C does. An executor that was shut down refuses work with a RuntimeError as always.
- At the end, every executor of the session is shut down, its queue cancelled, its worker
  processes killed, and those of ``multiprocessing`` too. Work that MQTT callbacks or timers submit
  later is refused without noise: the future is cancelled, and the terminal summary says how often
  and from where. So "cannot schedule new futures after interpreter shutdown" does not come up.

The same for a shorter stretch than the session::

    with ConcurrentFuturesFix():
        service = Service()

For an executor of your own that outlives its users, wrap it: ``SafeExecutor(max_workers=4)``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.process
import concurrent.futures.thread
import contextlib
import ctypes
import functools
import inspect
import itertools
import logging
import multiprocessing
import multiprocessing.pool
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from types import FrameType
from typing import Any, Callable, TypeVar, Union

import pytest

T = TypeVar("T")

GRACE = 0.2
"""Seconds that running work gets to end by itself before it is interrupted, and again after."""

SHUTDOWN_MESSAGES = (
    "cannot schedule new futures after shutdown",
    "cannot schedule new futures after interpreter shutdown",
    "can't create new thread at interpreter shutdown",  # Python 3.12
)


class WorkInterrupted(BaseException):
    """Raised inside a thread that has to end; not an Exception, lest a retry loop swallow it."""


class _Interrupt:
    """Ends one thread, which it wakes from whatever it waits for."""

    def __init__(self, thread: threading.Thread) -> None:
        self.was_daemon = thread.daemon
        self.started_in = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        self.requested = False
        self._ident = 0
        self._waiting_on: threading.Condition | None = None

    def request(self) -> None:
        """Have the thread raise WorkInterrupted from its sleep or wait, now or at the next."""
        self.requested = True
        condition = self._waiting_on
        if condition is not None and condition.acquire(timeout=GRACE):
            try:
                _wake_waiter(condition, self._ident)
            finally:
                condition.release()

    def wait(
        self, wait: Callable[..., bool], condition: threading.Condition, timeout: float | None
    ) -> bool:
        """Wait on *condition*, whose lock the thread holds, or be interrupted."""
        self._ident = threading.get_ident()
        self._waiting_on = condition  # before the look at requested: none is missed so
        result = False
        try:
            if not self.requested:
                result = wait(condition, timeout)
        finally:
            self._waiting_on = None
        if self.requested:
            raise WorkInterrupted
        return result


def _wake_waiter(condition: threading.Condition, ident: int) -> None:
    """Wake one thread from its wait: others would believe that what they wait for has come."""
    for frame in _frames_of(ident):
        if frame.f_code is _WAIT and frame.f_locals.get("self") is condition:
            waiter: Any = frame.f_locals.get("waiter")
            if waiter in condition._waiters:  # else it has just been woken
                condition._waiters.remove(waiter)
                waiter.release()


def _frames_of(ident: int) -> Iterator[FrameType]:
    """Give the frames in which a thread stands, the innermost first; none where it has ended."""
    frame = sys._current_frames().get(ident)
    while frame is not None:
        yield frame
        frame = frame.f_back


_WAIT = inspect.unwrap(threading.Condition.wait).__code__  # there may be two copies of this module


class InterruptibleThreads:
    """While active, new threads are daemons and can be interrupted in a sleep or a wait.

    A wait is whatever waits on a ``threading.Condition`` at heart: events, queues, futures.

    Args:
        of_everybody: note what threads from before have started, too: a server's for its requests.
    """

    def __init__(self, *, of_everybody: bool = True) -> None:
        self.is_noting = True  # of those that are started; False: they are somebody else's
        self._of_everybody = of_everybody
        self._strangers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._started: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def alive(self) -> list[threading.Thread]:
        """The threads that were noted as they started, and have not ended."""
        begun = threading.enumerate()  # those included that are about to begin
        with self._lock:
            return [thread for thread in begun if thread in self._started]

    def __enter__(self) -> InterruptibleThreads:
        if not self._of_everybody:
            self._strangers.update(set(threading.enumerate()) - {threading.current_thread()})
        _listening.append(self)
        if len(_listening) == 1:
            _patch.setattr(threading.Thread, "start", _around(threading.Thread.start))
            _patch.setattr(threading.Condition, "wait", _interruptible(threading.Condition.wait))
            _patch.setattr(time, "sleep", _interruptible_sleep(time.sleep))
        return self

    def __exit__(self, *_exc_info: object) -> None:
        _listening.remove(self)
        if not _listening:
            _patch.undo()

    @property
    def is_active(self) -> bool:
        """Whether it has begun, and has not ended."""
        return self in _listening

    def note(self, thread: threading.Thread) -> None:
        """Hear of a thread that this one starts."""
        of_stranger = self.is_stranger(threading.current_thread())
        with self._lock:
            (self._strangers if of_stranger else self._started).add(thread)

    def is_stranger(self, thread: threading.Thread | None) -> bool:
        """Say whether a thread was there before the block, or was started by one that was."""
        with self._lock:
            return thread in self._strangers


# One wrapper however deep the blocks nest: a test's monkeypatch, undone after the inner block,
# puts back what it found, which must be no wrapper that the inner block has taken away.
_patch = pytest.MonkeyPatch()
_listening: list[InterruptibleThreads] = []

# Tests may replace these by mocks.
_Thread, _Timer, _Event = threading.Thread, threading.Timer, threading.Event


def _around(start: Callable[[threading.Thread], None]) -> Callable[..., None]:
    @functools.wraps(start)
    def start_interruptible(thread: threading.Thread) -> None:
        if thread.ident is not None:
            start(thread)  # which says that it cannot be started twice
            return
        noting = [threads for threads in tuple(_listening) if threads.is_noting]
        if noting:
            interrupt = thread.__dict__[_INTERRUPT] = _Interrupt(thread)
            thread.daemon = True
            run = functools.partial(_run_until_interrupted, thread.run, interrupt)
            thread.run = run  # type: ignore[method-assign]
        for threads in noting:  # beforehand: an interruption may keep us from returning
            threads.note(thread)
        start(thread)

    return start_interruptible


_INTERRUPT = "_interrupt_of_concurrent_futures_fix"


def _interrupt_of(thread: threading.Thread) -> _Interrupt | None:
    return thread.__dict__.get(_INTERRUPT)


def _was_daemon(thread: threading.Thread) -> bool:
    interrupt = _interrupt_of(thread)
    return interrupt.was_daemon if interrupt else thread.daemon


def _run_until_interrupted(run: Callable[[], None], interrupt: _Interrupt) -> None:
    try:
        run()
    except WorkInterrupted:
        pass
    except (Exception, asyncio.CancelledError):
        if not interrupt.requested:  # else it is our doing: asyncio.run() says RuntimeError
            raise


def _interruptible(wait: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(wait)
    def interruptible_wait(condition: threading.Condition, timeout: float | None = None) -> bool:
        interrupt = _interrupt_of(threading.current_thread())
        if interrupt is None:
            return wait(condition, timeout)
        return interrupt.wait(wait, condition, timeout)

    return interruptible_wait


def _interruptible_sleep(sleep: Callable[[float], None]) -> Callable[[float], None]:
    @functools.wraps(sleep)
    def interruptible_sleep(seconds: float) -> None:
        if _interrupt_of(threading.current_thread()) is None or seconds <= 0:
            sleep(seconds)
        else:
            _Event().wait(seconds)

    return interruptible_sleep


class _Refusals:
    """Counts the submissions that came too late, by the line that made them."""

    def __init__(self) -> None:
        self._origins: Counter[str] = Counter()
        self._lock = threading.Lock()

    def refuse(self, function: Callable[..., Any]) -> Future[Any]:
        """Return a cancelled future: whoever waits for it learns that nothing was done."""
        with self._lock:
            self._origins[f"{_describe_callable(function)}, submitted at {_caller()}"] += 1
        future: Future[Any] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future

    def describe(self) -> list[str]:
        """Return a line an origin, the most frequent first."""
        with self._lock:
            return [f"{count} x {origin}" for origin, count in self._origins.most_common()]


def _describe_callable(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _caller() -> str:
    """Name the innermost line outside this file and the standard library's executors."""
    ours = {__file__, concurrent.futures._base.__file__, functools.__file__}
    for frame, line in traceback.walk_stack(None):
        if frame.f_code.co_filename not in ours:
            return f"{frame.f_code.co_filename}:{line}"
    return "an unknown line"


refusals = _Refusals()


class SafeExecutor(Executor):
    """An executor whose late submissions are cancelled futures instead of errors.

    Usage: ``SafeExecutor(max_workers=4)``, ``SafeExecutor(ProcessPoolExecutor, 2)``, or around
    an executor that exists, ``SafeExecutor(executor)``. Errors other than a shutdown's are
    raised as always.

    Args:
        executor: an executor, or the class of one; a thread pool where it is left out.
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
            return refusals.refuse(fn)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the wrapped executor down."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


Workers = Union[Executor, multiprocessing.pool.Pool]


class _State:
    """What is known of an executor or a pool; an attribute of it, as it may not be hashable."""

    _ATTRIBUTE = "_state_of_concurrent_futures_fix"

    def __init__(self, number: int) -> None:
        self.number = number
        self.made_by = weakref.ref(threading.current_thread())
        self.is_retired = False

    @classmethod
    def of(cls, workers: Workers) -> _State:
        """Return it; one that was made before the import comes before all others."""
        return vars(workers).get(cls._ATTRIBUTE) or cls._note(workers, BEFORE_IMPORT)

    @classmethod
    def note(cls, workers: Workers) -> None:
        """Number new workers."""
        cls._note(workers, next(_serial_numbers))

    @classmethod
    def forget(cls, retired: Iterable[Workers]) -> None:
        """Look no more at workers that nothing is left of; they may be there for long."""
        with _known_lock:
            for workers in retired:
                _known.pop(id(workers), None)

    @classmethod
    def _note(cls, workers: Workers, number: int) -> _State:
        state: _State = vars(workers).setdefault(cls._ATTRIBUTE, cls(number))
        with _known_lock:
            _known[id(workers)] = workers
        return state


BEFORE_IMPORT = -1
_serial_numbers = itertools.count()
_known_lock = threading.Lock()
_known: weakref.WeakValueDictionary[int, Workers] = weakref.WeakValueDictionary()


def _watch(workers_class: Any) -> None:
    """Have each new executor or pool of a class numbered, and refuse what comes too late.

    This begins with the import, since services make executors as their modules are imported.
    """
    initialise, submit = workers_class.__init__, getattr(workers_class, "submit", None)

    @functools.wraps(initialise)
    def initialise_and_number(self: Workers, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        _State.note(self)

    workers_class.__init__ = initialise_and_number
    if submit is None:
        return

    @functools.wraps(submit)
    def submit_in_time(self: Executor, fn: Callable[..., T], /, *args: Any, **kw: Any) -> Future[T]:
        if _State.of(self).is_retired:
            return refusals.refuse(fn)
        result: Future[T] = submit(self, fn, *args, **kw)
        return result

    workers_class.submit = submit_in_time


_watch(ThreadPoolExecutor)
_watch(ProcessPoolExecutor)
_watch(multiprocessing.pool.Pool)


class ConcurrentFuturesFix:
    """Ends the executors, and kills the processes, that a ``with`` block makes and leaves.

    Usage: ``with ConcurrentFuturesFix(): service = Service()``. Afterwards ``stuck`` lists, as
    text, the workers that would not end: they run on as daemons and cannot keep Python alive.
    Processes are those of executors and of ``multiprocessing``.

    Args:
        since_import: end those as well that were made before the block, and all threads.
    """

    def __init__(self, *, since_import: bool = False) -> None:
        self._is_whole_session = since_import
        self._first_number = BEFORE_IMPORT
        self.threads = InterruptibleThreads(of_everybody=since_import)
        self._processes_before: set[multiprocessing.process.BaseProcess] = set()
        self.stuck: list[str] = []

    def __enter__(self) -> ConcurrentFuturesFix:
        self._processes_before = set(multiprocessing.active_children())
        if not self._is_whole_session:
            self._first_number = next(_serial_numbers)
        self.threads.__enter__()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if not self.threads.is_active:
            return
        try:
            self.end_executors()
            if self._is_whole_session:
                self._end_all_threads()
        finally:
            self.threads.__exit__()

    def _end_all_threads(self) -> None:
        daemons = [thread for thread in self.threads.alive if _was_daemon(thread)]
        for thread in daemons:  # not worth a word
            _wake_to_end(thread)
        self.end_non_daemons(self.threads.alive)
        for thread in _join(daemons):
            _forget_at_exit(thread)

    def end_executors(self) -> None:
        """Shut down the executors and pools, and end what they run, as the block's end does."""
        ours = self._workers(ours=True)
        threads = [thread for workers in ours for thread in _retire(workers)]
        stuck = end_threads(_unnamed(threads), wake=self.kill_processes)
        self._note_stuck(stuck, "its executor was shut down")
        _State.forget(ours)

    def _workers(self, *, ours: bool) -> list[Workers]:
        with _known_lock:
            known = list(_known.values())
        return [workers for workers in known if self._owns(_State.of(workers)) is ours]

    def _owns(self, state: _State) -> bool:
        return state.number >= self._first_number and not self.threads.is_stranger(state.made_by())

    @property
    def threads_left(self) -> list[threading.Thread]:
        """What the block's own threads have started and still runs, but for workers of others."""
        of_others = {t for workers in self._workers(ours=False) for t in _threads_of(workers)}
        return [thread for thread in self.threads.alive if thread not in of_others]

    def end_non_daemons(self, threads: Iterable[threading.Thread]) -> None:
        """End those of *threads* that would keep Python alive, or did so before we had them."""
        others = _unnamed(thread for thread in threads if not _was_daemon(thread))
        stuck = end_threads(others, at_once=True, wake=self.kill_processes)
        self._note_stuck(stuck, "the last test")

    def kill_processes(self) -> None:
        """Kill the processes of ``multiprocessing`` that were started since the block began."""
        started = set(multiprocessing.active_children()) - self._processes_before
        if not started:
            return
        of_others = {p for workers in self._workers(ours=False) for p in _processes_of(workers)}
        for process in started - of_others:
            process.kill()
            process.join()

    def _note_stuck(self, threads: list[threading.Thread], after: str) -> None:
        for thread in name_once(threads):
            interrupt = _interrupt_of(thread)
            origin = interrupt.started_in if interrupt else ""
            self.stuck.append(
                f"{thread.name} runs on after {after}; it was started in {origin or 'no test'}. "
                "Have what it waits for time out, or end with the service. "
                f"It stands in:\n{stack_of(thread)}"
            )


def _retire(workers: Workers) -> list[threading.Thread]:
    """Shut *workers* down for good and return their threads, which may take a moment to end."""
    _State.of(workers).is_retired = True
    threads, processes = _threads_of(workers), _processes_of(workers)
    if isinstance(workers, multiprocessing.pool.Pool):
        _terminate(workers)
        return threads
    # Past an override: a subclass may know an older signature, or wait.
    base = ProcessPoolExecutor if isinstance(workers, ProcessPoolExecutor) else ThreadPoolExecutor
    base.shutdown(workers, wait=False, cancel_futures=True)
    threads = [*{*threads, *_threads_of(workers)}]  # and what a last submission has started
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    return threads


def _terminate(pool: multiprocessing.pool.Pool) -> None:
    """Terminate *pool*; kill the workers only of one that waits for them to end."""
    terminating = _Thread(target=pool.terminate, daemon=True)
    terminating.start()
    if _join([terminating]):
        for process in _processes_of(pool):
            process.kill()
        _join([terminating])


def _threads_of(workers: Any) -> list[threading.Thread]:
    feeder = getattr(getattr(workers, "_call_queue", None), "_thread", None)
    helpers = [feeder, *(getattr(workers, name, None) for name in _HELPERS)]
    is_thread_pool = isinstance(workers, multiprocessing.pool.ThreadPool)
    threads = workers._pool if is_thread_pool else getattr(workers, "_threads", ())
    return [thread for thread in (*threads, *helpers) if isinstance(thread, _Thread)]


_HELPERS = (
    "_executor_manager_thread",  # of a ProcessPoolExecutor
    *("_worker_handler", "_task_handler", "_result_handler"),  # of a multiprocessing.Pool
)


def _processes_of(workers: Any) -> list[multiprocessing.process.BaseProcess]:
    if isinstance(workers, multiprocessing.pool.ThreadPool):
        return []  # it has threads in their place
    if isinstance(workers, multiprocessing.pool.Pool):
        return list(getattr(workers, "_pool", None) or ())
    return list(dict(getattr(workers, "_processes", None) or {}).values())


def end_threads(
    threads: Iterable[threading.Thread],
    *,
    at_once: bool = False,
    wake: Callable[[], object] = lambda: None,
) -> list[threading.Thread]:
    """Interrupt *threads*, after a moment's grace or *at_once*; return those that still run.

    After the interruption *wake* is called, for what a thread waits for that only the caller can
    end, such as a process. An interruption reaches code that sleeps, waits, or runs Python, timers
    and event loops. It does not reach a thread that is blocked for good in a bare lock or in a
    system call.
    """
    threads = list(threads)
    for thread in threads:
        if isinstance(thread, _Timer):
            thread.cancel()
    alive = threads if at_once else _join(threads)
    for thread in alive:
        _interrupt(thread)
    wake()
    alive = _join(alive)
    for thread in alive:
        _forget_at_exit(thread)
    return alive


def name_once(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Return those of *threads* that no report has named, for one that does so now."""
    unnamed = _unnamed(threads)
    _named.update(unnamed)
    return unnamed


def _unnamed(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threads if thread not in _named]


_named: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def _join(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    deadline = time.monotonic() + GRACE
    waited_for = [thread for thread in threads if thread is not threading.current_thread()]
    for thread in waited_for:
        remaining = max(0.0, deadline - time.monotonic())
        if thread._started.wait(remaining):  # type: ignore[attr-defined]
            # Past an override, which may wait for something else.
            _Thread.join(thread, max(0.0, deadline - time.monotonic()))
    return [thread for thread in waited_for if thread.is_alive()]


def _interrupt(thread: threading.Thread) -> None:
    _wake_to_end(thread)
    loop = _event_loop_of(thread)
    if loop is not None:
        with contextlib.suppress(RuntimeError):  # it has closed this very moment
            loop.call_soon_threadsafe(_cancel_and_stop, loop)
    elif thread.ident is not None:
        # One from before the import does not expect our exception, but ends in silence with this.
        end = WorkInterrupted if _interrupt_of(thread) else SystemExit
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(end)
        )


def _cancel_and_stop(loop: asyncio.AbstractEventLoop) -> None:
    """Let the tasks of an event loop end, which would complain otherwise, and then the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda _done: loop.stop())
    loop.call_later(GRACE / 2, loop.stop)  # for a task that does not let itself be cancelled


def _wake_to_end(thread: threading.Thread) -> None:
    interrupt = _interrupt_of(thread)
    if interrupt is not None:
        interrupt.request()


def _event_loop_of(thread: threading.Thread) -> asyncio.AbstractEventLoop | None:
    for frame in _frames_of(thread.ident or 0):
        if frame.f_code.co_name == "run_forever":
            candidate = frame.f_locals.get("self")
            if isinstance(candidate, asyncio.AbstractEventLoop):
                return candidate
    return None


def _forget_at_exit(thread: threading.Thread) -> None:
    """Keep Python, and what is registered to run at its exit, from joining a stuck thread."""
    thread.join = _return_at_once  # type: ignore[method-assign]
    concurrent.futures.thread._threads_queues.pop(thread, None)  # type: ignore[attr-defined]
    concurrent.futures.process._threads_wakeups.pop(thread, None)
    if not thread.daemon:
        thread._daemonic = True  # type: ignore[attr-defined]
        if hasattr(threading, "_shutdown_locks"):
            threading._shutdown_locks.discard(thread._tstate_lock)  # type: ignore[attr-defined]
        else:  # since Python 3.13, which has a list of its own
            threading._thread_shutdown = _join_non_daemons  # type: ignore[attr-defined]


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


class _WholeRun:
    """A plugin that sees to it that pytest's process ends, and says what would not.

    The fixture ends what is started once it is set up. What was started before, as modules were
    imported, is ended here and at the very end: until then, whoever has started it may do so
    himself.
    """

    NAME = "concurrent-futures-fix"

    def __init__(self, importer: dict[str, Any], threads_of_before: list[threading.Thread]) -> None:
        self._importer = importer
        self._threads_of_before = threads_of_before
        self._early = ConcurrentFuturesFix(since_import=True)
        self._early.__enter__()
        self.session = ConcurrentFuturesFix(since_import=True)
        self._of_workers: dict[str, list[str]] = {}  # of pytest-xdist, none of which has a terminal
        self._is_terminated = False

    def pytest_plugin_registered(self, plugin: object, manager: pytest.PytestPluginManager) -> None:
        """Do nothing where it is something else than the fixture that was imported."""
        if getattr(plugin, "__dict__", None) is not self._importer:
            return
        has_fixture = any(value is fix_concurrent_futures for value in self._importer.values())
        if not has_fixture and not manager.is_registered(sys.modules[__name__]):
            manager.unregister(self)
            self._early.threads.__exit__()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Have the fixture set up before all others, and end what they leave after them."""
        names: list[str] = getattr(item, "fixturenames", [])
        if fix_concurrent_futures.__name__ in names:
            names.remove(fix_concurrent_futures.__name__)
            names.insert(0, fix_concurrent_futures.__name__)

    def leave_to_others(self) -> None:
        """Have what is started from here on ended by the fixture, or by who starts it."""
        self._early.threads.is_noting = False

    # pytest is about to close the streams that it has captured, before fixtures are torn down.
    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._is_terminated = isinstance(excinfo.value, _Terminated)
        _silence_late_threads()

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self) -> None:
        _silence_late_threads()

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        self.leave_to_others()
        yield
        if self._is_terminated:
            session.exitstatus = 128 + signal.SIGTERM
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[self.NAME] = self._sections()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for title, lines in getattr(node, "workeroutput", {}).get(self.NAME, {}).items():
            self._of_workers.setdefault(title, []).extend(lines)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        _print_sections(terminalreporter, self._sections())
        _print_sections(terminalreporter, self._of_workers)

    def _sections(self) -> dict[str, list[str]]:
        return {
            "late submissions to executors (refused)": refusals.describe(),
            _STUCK: self.session.stuck,
        }

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        _silence_late_threads()
        told = len(self.session.stuck)
        self.session.__exit__()  # where an interruption has kept the fixture from its end
        self._early.end_non_daemons([*self._threads_of_before, *self._early.threads.alive])
        self._early.threads.__exit__()
        terminalreporter = config.pluginmanager.get_plugin("terminalreporter")
        if terminalreporter is not None:
            stuck = [*self.session.stuck[told:], *self._early.stuck]
            _print_sections(terminalreporter, {_STUCK: stuck})


_STUCK = "threads that would not end"


def _print_sections(terminalreporter: Any, sections: dict[str, list[str]]) -> None:
    for title, lines in sections.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.line(line)


def _join_pytest() -> None:
    """Register with the pytest that imports this, if one does."""
    importer: dict[str, Any] = {}
    for frame, _ in traceback.walk_stack(None):
        if frame.f_code.co_name == "<module>":
            importer = frame.f_globals
        manager = frame.f_locals.get("self")
        if isinstance(manager, pytest.PytestPluginManager):
            is_test_module = frame.f_code.co_name not in ("_importconftest", "import_plugin")
            if not is_test_module and not manager.has_plugin(_WholeRun.NAME):
                manager.register(_WholeRun(importer, _threads_of_this_run()), _WholeRun.NAME)
            return


def _threads_of_this_run() -> list[threading.Thread]:
    """Return what modules have started that were imported before this one.

    A program that calls ``pytest.main()`` has threads of its own, which are not ours to end.
    """
    callers = [frame for frame, _ in traceback.walk_stack(None)]
    by_command = any(caller.f_code.co_name.endswith("console_main") for caller in callers)
    by_xdist = any(caller.f_globals.get("__name__") == "__channelexec__" for caller in callers)
    in_a_test = any(caller.f_code.co_name == "pytest_runtest_protocol" for caller in callers)
    if in_a_test or not (by_command or by_xdist):
        return []
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def _silence_late_threads() -> None:
    """Drop what a thread logs or raises from here on: it would only be noise after the report."""
    if threading.active_count() > 1:
        logging.raiseExceptions = False
        logging.lastResort = None
        threading.excepthook = _ignore


def _ignore(_args: threading.ExceptHookArgs) -> None:
    pass


@pytest.fixture(scope="session", autouse=True)
def fix_concurrent_futures(pytestconfig: pytest.Config) -> Iterator[ConcurrentFuturesFix]:
    """Applies the fix to the whole session; import it in conftest.py, nothing else to do."""
    plugins = pytestconfig.pluginmanager
    whole_run = plugins.get_plugin(_WholeRun.NAME)
    if whole_run is None:  # it is a test module that has imported this
        whole_run = _WholeRun({}, [])
        plugins.register(whole_run, _WholeRun.NAME)
    with _ending_in_order_on_sigterm(), whole_run.session as fix:
        whole_run.leave_to_others()
        yield fix


@contextlib.contextmanager
def _ending_in_order_on_sigterm() -> Iterator[None]:
    """Have SIGTERM end the run as Ctrl-C does: fixtures are torn down, no process is left."""
    usual = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not (usual and in_main_thread):
        yield
        return
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    yield
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Terminated(KeyboardInterrupt):
    """No Exception, which a test may suppress, as ``pytest.exit`` raises."""


def _exit_on_sigterm(_number: int, _frame: object) -> None:
    raise _Terminated("SIGTERM")


def _be_as_always_in_a_child() -> None:
    """Undo in a forked child what is meant for the test run alone."""
    _listening.clear()
    _patch.undo()
    if signal.getsignal(signal.SIGTERM) is _exit_on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_be_as_always_in_a_child)


_join_pytest()
