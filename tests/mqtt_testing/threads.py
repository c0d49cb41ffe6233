"""Knows and holds the threads that are started while a service lives.

For that time ``threading.Thread.start`` and ``time.sleep`` are replaced: the one to know what is
started and by which thread, the other so that a thread can be woken from its sleep.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .executors import join
from .interruption import SLEEPS_WATCHED, interruptible_sleep
from .originals import start_unwatched, threading, unwatched

if TYPE_CHECKING:
    import asyncio

NEEDED = {
    "Thread": ("_args", "_invoke_excepthook", "_kwargs", "_started", "_target"),
    "Condition": ("_waiters",),
}
"""Private names of ``threading`` that are used here and in concurrent_futures_fix.py."""


def missing_names() -> list[str]:
    """Return the private names that we need and this Python does not have."""
    made = {"Thread": threading.Thread(), "Condition": threading.Condition()}
    return [
        f"threading.{kind}.{name}"
        for kind, names in NEEDED.items()
        for name in names
        if not hasattr(made[kind], name)
    ]


@functools.cache
def check_python() -> None:
    """Check that Python is one that we know.

    Raises:
        RuntimeError: it lacks a name; says which, and what to do.
    """
    missing = missing_names()
    if missing:
        version = ".".join(map(str, sys.version_info[:2]))
        raise RuntimeError(
            f"Python {version} has no {missing[0]}: update the folder mqtt_testing, "
            "or use an earlier Python"
        )


class ThreadWatch:
    """Notes the threads that are started in a ``with`` block, but for those that others start.

    What a thread from before the block starts is that thread's, such as a server's for its
    requests; but for the thread that begins the block. Blocks may nest: see ``own``.
    """

    def __init__(self) -> None:
        self.hold: Callable[[threading.Thread], bool] | None = None
        """While a service is built, is given each thread that starts; returns whether it holds."""
        self._strangers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._started: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def alive(self) -> list[threading.Thread]:
        """The threads that were noted, and have not ended."""
        begun = threading.enumerate()  # those included that are about to begin
        with self._lock:
            return [thread for thread in begun if thread in self._started]

    @property
    def own(self) -> list[threading.Thread]:
        """Those of them that no block around this one has noted, which ends later.

        What starts while a service is built is its own. Of the rest nothing tells whose it is.
        """
        around = _watches[: _watches.index(self)]
        return [t for t in self.alive if not any(t in watch._started for watch in around)]

    def __enter__(self) -> ThreadWatch:
        check_python()
        ours = {threading.current_thread(), *unwatched}
        self._strangers.update(set(threading.enumerate()) - ours)
        _watches.append(self)
        if len(_watches) == 1:
            _patch.setattr(threading.Thread, "start", _noting(threading.Thread.start))
            _patch.setattr(time, "sleep", interruptible_sleep(time.sleep))
        return self

    def __exit__(self, *_exc_info: object) -> None:
        _watches.remove(self)
        if not _watches:
            _patch.undo()

    def note(self, thread: threading.Thread, *, is_own: bool) -> None:
        """Note a thread that is about to be started, or that it is another's."""
        with self._lock:
            (self._started if is_own else self._strangers).add(thread)


# One wrapper however deep the blocks nest: a test's monkeypatch, undone after the inner block,
# puts back what it found, which must be no wrapper that the inner block has taken away.
_patch = pytest.MonkeyPatch()
_watches: list[ThreadWatch] = []


def _noting(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def start_and_note(thread: threading.Thread) -> None:
        if thread.ident is None:  # else it cannot be started, as it will say
            watches, starter = tuple(_watches), threading.current_thread()
            concerned = [watch for watch in watches if starter not in watch._strangers]
            building = {watch: watch.hold for watch in concerned if watch.hold is not None}
            if any(hold(thread) for hold in building.values()):
                return
            vars(thread)[SLEEPS_WATCHED] = True
            for watch in watches:  # beforehand: an interruption may keep us from returning
                watch.note(thread, is_own=watch in (building or concerned))
        start(thread)

    return start_and_note


def target_of(thread: threading.Thread) -> Any:
    """Return the function that a thread was made to run."""
    return getattr(thread, "_target", None)


def copy_of(thread: threading.Thread) -> Callable[[], threading.Thread]:
    """Return what makes threads that run the same function with the same arguments."""
    of_thread: Any = thread
    arguments = {"args": of_thread._args, "kwargs": of_thread._kwargs, "name": thread.name}
    return functools.partial(threading.Thread, target=target_of(thread), **arguments)


def process_pools() -> list[Any]:
    """Return the pools of ``multiprocessing`` that there are; none where that is not imported."""
    module: Any = sys.modules.get("multiprocessing.pool")
    finalizers = list(module.util._finalizer_registry.values()) if module else []
    references = [getattr(finalizer, "_weakref", None) for finalizer in finalizers]
    owners = [reference() for reference in references if reference]  # some are of no object
    return [owner for owner in owners if isinstance(owner, module.Pool)]


def end_pools(pools: Iterable[Any]) -> None:
    """Terminate pools, and kill the processes of those that take more than a moment."""
    terminating = {threading.Thread(target=pool.terminate, daemon=True): pool for pool in pools}
    for thread in terminating:
        start_unwatched(thread)
    late = join(terminating)
    for thread in late:
        for process in [p for p in terminating[thread]._pool if hasattr(p, "kill")]:
            process.kill()
    join(late)


@contextlib.contextmanager
def own_default_executor(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let *loop* have another default executor for the ``with`` block: what it runs may not end."""
    from concurrent.futures import ThreadPoolExecutor  # on use

    of_loop: Any = loop
    is_known = hasattr(loop, "_default_executor")  # not that of uvloop
    before = of_loop._default_executor if is_known else None
    loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
    try:
        yield
    finally:
        if is_known:
            of_loop._default_executor = before
        else:
            loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
