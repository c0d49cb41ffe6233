"""Results of ``async def`` methods of services, outside of an event loop and in one."""

from __future__ import annotations

import inspect
from typing import Any

from .running_flag import RunningFlag


def finished(result: Any) -> Any:
    """Run what an ``async def`` method returned; leave it to an async test to await it itself."""
    if not inspect.isawaitable(result) or _a_loop_runs():
        return result
    import asyncio

    loop = asyncio.new_event_loop()  # not asyncio.run(), which takes the thread's loop away
    try:
        return loop.run_until_complete(result)
    finally:
        loop.close()


def _a_loop_runs() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def awaited(result: Any, flag: RunningFlag) -> Any:
    """Await *result* while the service thinks that it runs."""
    with flag.set_meanwhile():
        return await result
