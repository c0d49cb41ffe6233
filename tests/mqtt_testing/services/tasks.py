"""Runs methods of a service by hand, though its flag may say that it does not run."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..clients.event_loop import running_loop
from ..interruption import GRACE
from ..originals import threading

if TYPE_CHECKING:
    import asyncio


class RunningFlag:
    """The attribute by which a service knows whether it runs: a bool, or an Event."""

    def __init__(self, service: Any, names: Sequence[str]) -> None:
        self._service = service
        self.name = next((name for name in names if self._is_flag(name)), None)

    def _is_flag(self, name: str) -> bool:
        # Of the object or its class; a property is none.
        value = inspect.getattr_static(self._service, name, None)
        return isinstance(value, (bool, threading.Event))

    def get(self) -> bool:
        """Return whether the service thinks that it runs; one without a flag does."""
        if self.name is None:
            return True
        value = getattr(self._service, self.name)
        return value.is_set() if isinstance(value, threading.Event) else bool(value)

    def set(self, running: bool) -> None:
        """Let the service think that it runs, or that it does not."""
        if self.name is None:
            return
        value = getattr(self._service, self.name)
        if not isinstance(value, threading.Event):
            setattr(self._service, self.name, running)
        elif running:
            value.set()
        else:
            value.clear()

    @contextlib.contextmanager
    def set_meanwhile(self) -> Iterator[None]:
        """Let tasks run that begin with a look at the flag."""
        before = self.get()
        self.set(True)
        try:
            yield
        finally:
            if not before:
                self.set(False)


def finished(result: Any) -> Any:
    """Run what an ``async def`` method returned; leave it to an async test to await it itself."""
    if not inspect.isawaitable(result) or running_loop() is not None:
        return result
    import asyncio

    loop = asyncio.new_event_loop()  # not asyncio.run(), which takes the thread's loop away
    try:
        return loop.run_until_complete(result)
    finally:
        loop.close()


async def awaited(result: Any, flag: RunningFlag) -> Any:
    """Await *result* while the service thinks that it runs."""
    with flag.set_meanwhile():
        return await result


async def awaited_in(loop: asyncio.AbstractEventLoop | None, coroutine: Any) -> Any:
    """Await *coroutine* in a *loop* that another thread runs, to which all belongs that it uses.

    Without a *loop* it is awaited here.

    Raises:
        RuntimeError: it was cancelled there, or that loop has ended before it.
    """
    if loop is None or loop is running_loop():
        return await coroutine
    import asyncio

    there = asyncio.run_coroutine_threadsafe(coroutine, loop)
    here = asyncio.wrap_future(there)  # one alone: asyncio complains of an error that none takes
    try:
        while not here.done() and (there.done() or loop.is_running()):
            await asyncio.wait({here}, timeout=GRACE)
        if here.cancelled() or not here.done():
            raise RuntimeError("the service has cancelled this task, or ended its event loop")
        return await here
    finally:
        here.cancel()  # and with it the task; it does nothing to one that is done


def raise_error_of(task: asyncio.Task[Any] | None) -> None:
    """Raise what *task* has ended with, if it has and that is an error."""
    error = task.exception() if task and task.done() and not task.cancelled() else None
    if error is not None:
        raise error
