"""Which tasks of an event loop belong together: what a task creates belongs to its family.

A client of aiomqtt creates a task for each message that it waits for. Whether that is a test's own,
or that of a service which a fixture of a wider scope runs, tells only the task that creates it.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ..originals import threading

if TYPE_CHECKING:
    import asyncio

_followed: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Family]] = weakref.WeakKeyDictionary()


class Family:
    """Tasks of event loops, and all that they create from then on.

    A task that a callback creates may be that of any family which lives in its loop, and so is
    taken for that of each.
    """

    def __init__(self) -> None:
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._lock = threading.RLock()

    def add(self, loop: asyncio.AbstractEventLoop, tasks: Collection[asyncio.Task[Any]]) -> None:
        """Add *tasks* of *loop*."""
        if tasks:
            with self._lock:
                self._tasks.update(tasks)
            _follow(loop).add(self)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        with self._lock:
            return iter(tuple(self._tasks))

    def note(self, task: asyncio.Task[Any], creator: asyncio.Task[Any] | None) -> None:
        """Add *task* if *creator* is one of these, or may be."""
        loop = task.get_loop()
        if creator in self or (
            creator is None and any(t.get_loop() is loop and not t.done() for t in self)
        ):
            with self._lock:
                self._tasks.add(task)


def _follow(loop: asyncio.AbstractEventLoop) -> weakref.WeakSet[Family]:
    """Return the families that are told of each task that *loop* creates."""
    import asyncio

    if loop in _followed:
        return _followed[loop]
    families = _followed[loop] = weakref.WeakSet()
    make = loop.get_task_factory()

    def make_and_note(loop: Any, coroutine: Any, **options: Any) -> Any:
        creator = asyncio.current_task(loop)
        if make is None:
            task: Any = asyncio.Task(coroutine, loop=loop, **options)
        else:
            task = make(loop, coroutine, **options)
        if creator is not None or loop.is_running():
            for family in tuple(families):
                family.note(task, creator)
        return task

    loop.set_task_factory(make_and_note)
    return families
