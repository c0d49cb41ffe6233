"""Interrupts threads: raises an error in them, and wakes them from what they wait for."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from .executors import join
from .originals import signal, threading
from .originals import time as clock

if TYPE_CHECKING:
    import asyncio

GRACE = 0.2
"""Seconds that a thread gets to end by itself before it is interrupted, and again after."""

LOOK_INTERVAL = 0.001

SAME_LOOKS = 5
"""Looks that find a thread at the same place, after which it is taken to wait."""

SLEEPS_WATCHED = "_mqtt_sleeps_watched"
"""What a thread has that can be woken from its sleep."""

_LONGEST_SLEEP = "_mqtt_longest_sleep"


def interruptible_sleep(sleep: Callable[[float], None]) -> Callable[[float], None]:
    """Return *sleep* as it is to be while a watch is active."""

    @functools.wraps(sleep)
    def sleep_or_wake(seconds: float) -> None:
        of_thread = vars(threading.current_thread())
        if _LONGEST_SLEEP in of_thread:
            sleep(min(seconds, of_thread[_LONGEST_SLEEP]))
        elif SLEEPS_WATCHED in of_thread and seconds > 0:
            threading.Event().wait(seconds)
        else:
            sleep(seconds)

    return sleep_or_wake


@contextlib.contextmanager
def short_sleeps(longest: float) -> Iterator[None]:
    """Let no sleep of this thread take more than *longest* seconds, while a watch is active."""
    of_thread = vars(threading.current_thread())
    of_thread[_LONGEST_SLEEP] = longest
    try:
        yield
    finally:
        del of_thread[_LONGEST_SLEEP]


def waits(thread: threading.Thread) -> bool:
    """Return whether *thread* sleeps, joins another, or waits for an event."""
    innermost = next(frames_of(thread), None)
    return innermost is not None and innermost.f_code.co_filename in (threading.__file__, __file__)


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
        if isinstance(thread, threading.Timer):
            thread.cancel()
    alive = threads if at_once else join(threads)
    await_rest(alive)
    for thread in alive:
        interrupt(thread)
    wake()
    return join(alive)


def await_rest(threads: Iterable[threading.Thread]) -> None:
    """Give *threads* a moment to come to where they wait: elsewhere they leave things half done.

    One that has just been started may be about to connect a client.
    """
    deadline = clock.monotonic() + GRACE
    latest = {thread: deque[object](maxlen=SAME_LOOKS) for thread in threads}
    while latest and clock.monotonic() < deadline:
        for thread, places in tuple(latest.items()):
            innermost = next(frames_of(thread), None)
            places.append(innermost and (id(innermost), innermost.f_lasti))
            has_not_moved = places.count(places[-1]) == SAME_LOOKS
            if innermost is None or waits(thread) or has_not_moved:
                del latest[thread]
        if latest:
            threading.Event().wait(LOOK_INTERVAL)


def interrupt(thread: threading.Thread) -> None:
    """Raise an error in *thread*, which it wakes from a wait; or end its event loop.

    It is one that no ``except Exception`` swallows. What an executor runs passes it on to what
    awaits that: an event loop, which SystemExit would end.
    """
    silence([thread])
    loop = event_loop_of(thread)
    if loop is not None:
        end_event_loop(loop)
    else:
        asyncio: Any = sys.modules.get("asyncio")
        _raise_in(thread, asyncio.CancelledError if asyncio else SystemExit)


def silence(threads: Iterable[threading.Thread]) -> None:
    """Do not report what *threads* raise from now on: it is our doing."""
    for thread in threads:
        vars(thread)["_invoke_excepthook"] = _ignore


@contextlib.contextmanager
def interruptible(
    error: type[BaseException], stands_there: Callable[[], bool]
) -> Iterator[Callable[[], object]]:
    """Give what raises *error* in this thread, from another one, if it *stands_there* then.

    In the main thread by a signal that is ignored otherwise, which reaches system calls and locks.
    """
    thread, before = threading.current_thread(), signal.getsignal(_SIGNAL)
    if thread is not threading.main_thread() or before is None:
        try:
            yield lambda: _raise_in(thread, error) if stands_there() else None
        finally:
            _set_async_error(thread.ident or 0, None)  # which may have come as it left
        return

    def raise_there(signum: int, frame: FrameType | None) -> None:
        if stands_there() and not _is_of_imports(frame):
            raise error
        if callable(before):
            before(signum, frame)

    signal.signal(_SIGNAL, raise_there)
    try:
        yield lambda: signal.pthread_kill(thread.ident or 0, _SIGNAL)
    finally:
        signal.signal(_SIGNAL, before)


_SIGNAL = signal.SIGURG


def _raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    import ctypes  # noqa: F401  # on use, and before the look at the thread

    deadline = clock.monotonic() + GRACE
    while _is_of_imports(next(frames_of(thread), None)):
        if clock.monotonic() > deadline:
            return
        threading.Event().wait(LOOK_INTERVAL)
    if thread.ident is not None and thread.is_alive():  # else another may have its ident by now
        _set_async_error(thread.ident, error)
        _wake_from_wait(thread)


def _is_of_imports(frame: FrameType | None) -> bool:
    """Return whether a *frame* is Python's own for imports.

    Interrupted there, a thread may keep the lock of imports, for which all others wait for ever.
    """
    return frame is not None and frame.f_code.co_filename == "<frozen importlib._bootstrap>"


def _set_async_error(ident: int, error: type[BaseException] | None) -> None:
    import ctypes  # on use

    argument = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), argument)


def _ignore(*_args: object) -> None:
    pass


def _wake_from_wait(thread: threading.Thread) -> None:
    """Wake one thread from its wait: others would believe that what they wait for has come."""
    for frame in frames_of(thread):
        if frame.f_code is _WAIT:
            condition, waiter = frame.f_locals["self"], frame.f_locals.get("waiter")
            if waiter is not None and condition.acquire(timeout=GRACE):
                try:
                    if waiter in condition._waiters:  # else it has just been woken
                        condition._waiters.remove(waiter)
                        waiter.release()
                finally:
                    condition.release()
            return


# Of an object, not of the class, in whose place profilers put others that pass on what they lack.
_wait: Any = threading.Condition().wait
_WAIT = getattr(_wait, "__wrapped__", _wait).__code__


def frames_of(thread: threading.Thread) -> Iterator[FrameType]:
    """Give the frames in which a thread stands, the innermost first; none where it has ended."""
    frame = sys._current_frames().get(thread.ident or 0)
    while isinstance(frame, FrameType):  # behind one that it leaves this moment, there is anything
        yield frame
        frame = frame.f_back


def event_loop_of(thread: threading.Thread) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that *thread* runs; None if it runs none."""
    asyncio: Any = sys.modules.get("asyncio")
    for frame in frames_of(thread) if asyncio else ():
        if frame.f_code.co_name == "run_forever":
            candidate: Any = frame.f_locals.get("self")
            if isinstance(candidate, asyncio.AbstractEventLoop):
                return candidate  # type: ignore[no-any-return]
    return None


def end_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End the tasks of a loop that another thread runs, and stop it."""
    with contextlib.suppress(RuntimeError):  # it has closed this very moment
        loop.call_soon_threadsafe(_cancel_and_stop, loop)


def _cancel_and_stop(loop: asyncio.AbstractEventLoop) -> None:
    """Let the tasks of an event loop end, which would complain otherwise, and then the loop."""
    import asyncio

    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda _done: loop.stop())
    loop.call_later(GRACE / 2, loop.stop)  # for a task that does not let itself be cancelled
