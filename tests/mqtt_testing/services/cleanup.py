"""A service's own cleanup, which has a deadline."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Awaitable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from ..clients.lingering import lingering_tasks, place_of
from ..executors import stack_of
from ..interruption import (
    GRACE,
    end_event_loop,
    event_loop_of,
    frames_of,
    interruptible,
    short_sleeps,
)
from ..originals import KIT, threading
from .alarm import Alarm
from .background import BackgroundTasks, is_of_library
from .leftovers import Leftovers
from .tasks import finished, raise_error_of

if TYPE_CHECKING:
    import asyncio

PATIENCE = 0.2
"""Seconds after which a cleanup is taken to wait for a thread of the service that is held."""

ATTEMPTS = 20
"""Times that a cleanup is interrupted: it may catch that, and wait again."""

SHORT_SLEEP = 0.001
"""Seconds that a sleep of the service takes while it is cleaned up."""

_NO_CONSEQUENCES = (KeyboardInterrupt, *(o.Exception for o in (pytest.exit, pytest.fail)))


class _Interrupted(BaseException):
    """Raised in a cleanup that does not end, of which no ``except Exception`` gets hold."""


class Cleanup:
    """A service ends itself, without its pauses for others, and within a time.

    Then what it waits for is interrupted, and in the end the cleanup itself.

    Args:
        service: what it is called on.
        method: its name.
        timeout: seconds.
        alarm: that looks at those.
        background: the threads that it may wait for.
        leftovers: what else it may wait for; where it is named if it does not end.
    """

    def __init__(
        self,
        service: Any,
        method: str,
        timeout: float,
        alarm: Alarm,
        background: BackgroundTasks,
        leftovers: Leftovers,
    ) -> None:
        self._service = service
        self._method = method
        self._timeout = timeout
        self._alarm = alarm
        self._background = background
        self._leftovers = leftovers
        self._thread = threading.current_thread()
        self._loop_around = event_loop_of(self._thread)
        self._task: asyncio.Task[Any] | None = None
        self._is_called = False
        self._is_overdue = False

    def run(self) -> None:
        """Call it; if it is an ``async def``, in a loop of its own."""
        with self._deadline():
            result = self._called()
            if inspect.isawaitable(result):
                finished(self._awaited(result))

    async def run_in_loop(self) -> None:
        """Call it, and await it here if it is an ``async def``."""
        with self._deadline():
            result = self._called()
            if inspect.isawaitable(result):
                await self._awaited(result)

    def _called(self) -> Any:
        no_error = (None, None, None) if self._method in ("__exit__", "__aexit__") else ()
        self._is_called = True
        try:
            return getattr(self._service, self._method)(*no_error)
        finally:
            self._is_called = False

    async def _awaited(self, result: Awaitable[Any]) -> None:
        import asyncio

        self._task = asyncio.ensure_future(result)
        await asyncio.wait({self._task}, timeout=self._timeout + GRACE)
        if not self._task.done():
            await lingering_tasks.ended([self._task], is_expected=True)
        raise_error_of(self._task)

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        self._background.let_cleanup_join()
        with self._consequences_ignored(), interruptible(_Interrupted, self._stands_in_it) as stop:
            steps = (
                (PATIENCE, self._background.start_for_cleanup),
                (self._timeout - PATIENCE, self._interrupt_what_it_waits_for),
                (GRACE, self._end_loop_within),
                *((GRACE, stop),) * ATTEMPTS,
            )
            with short_sleeps(SHORT_SLEEP), self._alarm.set(*steps):
                yield

    @contextlib.contextmanager
    def _consequences_ignored(self) -> Iterator[None]:
        """Ignore what comes of an interruption: a cancellation, a SystemExit, a program's end."""
        try:
            yield
        except BaseException as error:
            if not self._is_overdue or isinstance(error, _NO_CONSEQUENCES):
                raise

    def _stands_in_it(self) -> bool:
        """Return whether the thread runs the cleanup now, and not an event loop around it."""
        if self._task is None:
            return self._is_called
        import asyncio

        return asyncio.current_task(self._task.get_loop()) is self._task

    def _interrupt_what_it_waits_for(self) -> None:
        is_suspended = self._task is not None and not self._stands_in_it()
        where = f" {place_of(self._task)}" if is_suspended else f"\n{_inner_stack_of(self._thread)}"
        self._is_overdue = True
        self._leftovers.named.append(
            f"{self._method}() did not end within {self._timeout:g} s, and what it waits for "
            f"was interrupted. It stood in:{where}"
        )
        self._leftovers.interrupt()

    def _end_loop_within(self) -> None:
        loop = event_loop_of(self._thread)
        if self._task is None and loop is not None and loop is not self._loop_around:
            end_event_loop(loop)


def _inner_stack_of(thread: threading.Thread) -> str:
    """Return where *thread* stands, as text like a traceback's, from the service's code on."""
    frames = [(frame, frame.f_lineno) for frame in frames_of(thread)]  # at once: it may go on
    while frames and _is_around_service(frames[-1][0]):
        frames.pop()
    summary = traceback.StackSummary.extract(reversed(frames))
    return "".join(summary.format()) or stack_of(thread)


def _is_around_service(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(("<", KIT)) or is_of_library(file)
