"""A service that lives in the event loop of its test."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..clients import limits
from ..clients.event_loop import handled, running_loop, settled, told
from ..clients.families import Family
from ..clients.lending import Lending
from ..clients.lingering import lingering_tasks, tasks_in
from ..clients.pool import SharedMQTTPool
from ..interruption import GRACE
from ..originals import time
from ..threads import own_default_executor
from .cleanup import Cleanup
from .fixture import ServiceFixtureError
from .in_thread import runs_in_thread, state_of
from .lifetime import ServiceUnderTest
from .tasks import raise_error_of

if TYPE_CHECKING:
    import asyncio

PATIENCE = 20
"""Rounds that a service gets that runs as a task and has connected no client of paho."""


class ServiceInLoop(ServiceUnderTest):
    """One service in one async test."""

    _task: asyncio.Task[Any] | None = None

    @contextlib.asynccontextmanager
    async def living_in_loop(
        self, pool: SharedMQTTPool, arguments: Mapping[str, Any]
    ) -> AsyncIterator[Any]:
        """Build and run the service here, and end it with the ``async with`` block."""
        import asyncio

        loop, of_others = running_loop(), Family()
        if loop is None:
            raise ServiceFixtureError(
                "no event loop of asyncio runs here, and the service needs one; with anyio, let "
                "the fixture anyio_backend return 'asyncio'"
            )
        of_others.add(loop, tasks_in(loop) - {asyncio.current_task()})
        with (
            self._surroundings(pool) as (leftovers, lending, background),
            own_default_executor(loop),
        ):
            try:
                with background.held_by(leftovers.watch):
                    self.service = await _finished(self._build(**arguments))
                    await self._start()
                    self._run_in_thread(background, pool, lending)
                self._equip(background, lending)
                background.serve_clients()
                await self._settle(pool, lending)
                yield self.service
            finally:
                if self.service is not None:
                    cleanup = self._own_cleanup(background, leftovers)
                    await self._end(of_others, cleanup)

    async def _start(self) -> None:
        import asyncio

        await _finished(self._started())
        if self._handling.run is not None and not self._runs_in_thread:
            name = self._method("run", self._handling.run)
            if runs_in_thread(type(self.service), name):
                raise ServiceFixtureError(
                    f"run names {name!r}, which is no `async def` method; for a thread to run it, "
                    "the function that builds the service has to say which class it returns "
                    "(`-> Service`)"
                )
            self._task = asyncio.ensure_future(getattr(self.service, name)())

    async def _settle(self, pool: SharedMQTTPool, lending: Lending) -> None:
        """Await that the service has connected, and its subscriptions are in force.

        It has once a round through the broker and the loop brings no new client or packet.
        """
        deadline, rounds = time.monotonic() + limits.TIMEOUT, 0
        before: list[tuple[bool, int]] | None = None
        if self._task is not None:  # which has not begun
            await handled()
        while time.monotonic() < deadline:
            raise_error_of(self._task)
            if self._task is not None and self._task.done():
                raise ServiceFixtureError(f"{self._handling.run}() has returned: name it start")
            now = state_of(lending)
            is_awaited = self._task is not None and not now and rounds < PATIENCE
            if now == before and not is_awaited:
                break
            if _all_are_connected(lending):
                before, rounds = now, rounds + 1
                await settled(lambda: pool.await_connections(lending))
            else:
                await told(lambda tell: self._telling(lending, tell), deadline - time.monotonic())
                await handled()
        self._note_connections(lending)

    @contextlib.contextmanager
    def _telling(self, lending: Lending, tell: Callable[[], object]) -> Iterator[None]:
        """Call *tell* as the broker answers a client, or has, and as the service's task ends."""
        with lending.telling(tell):
            if self._task is not None:
                self._task.add_done_callback(lambda _task: tell())
            if _all_are_connected(lending):
                tell()
            yield

    async def _end(self, of_others: Family, cleanup: Cleanup | None) -> None:
        """Let the service end itself, and then its tasks."""
        try:
            if cleanup is not None:
                await cleanup.run_in_loop()
        finally:
            if not self._leaks_on_purpose:
                await self._end_tasks(of_others)

    async def _end_tasks(self, of_others: Family) -> None:
        import asyncio

        left = tasks_in(asyncio.get_running_loop()) - {*of_others, asyncio.current_task()}
        if left and self._cleaned_up:  # they may be about to end
            _, left = await asyncio.wait(left, timeout=GRACE)
        if self._task is not None:
            await lingering_tasks.ended(left & {self._task}, is_expected=True)
        await lingering_tasks.ended({task for task in left if not task.done()})
        raise_error_of(self._task)


def _all_are_connected(lending: Lending) -> bool:
    return all(connected for connected, _ in state_of(lending))


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
