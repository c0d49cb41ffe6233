"""What is alive in a process: threads, MQTT clients, asyncio tasks, and processes of its own."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_TASKS = ("_scheduled_tasks", "_eager_tasks", "_all_tasks")
"""What versions of asyncio call their sets of tasks; one that has none of them shows no tasks."""


class Alive(NamedTuple):
    """Something that is alive; nothing else of its kind gets its number."""

    kind: str
    number: int
    name: str


class Census:
    """Finds what is alive; *clients* gives the MQTT clients that have ever connected."""

    def __init__(self, clients: Callable[[], Iterable[Any]]) -> None:
        self._clients = clients
        self._numbers: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._last_number = 0
        self._children = Children()

    def take(self) -> set[Alive]:
        """Return what is alive."""
        return {*self._threads(), *self._connected(), *self._tasks(), *self._children.alive()}

    def _threads(self) -> Iterator[Alive]:
        for thread in threading.enumerate():
            yield self._numbered("thread", thread, thread.name)

    def _connected(self) -> Iterator[Alive]:
        for client in self._clients():
            if client.is_connected():
                client_id = getattr(client, "_client_id", b"")  # paho tells it nowhere else
                yield self._numbered("client", client, client_id.decode(errors="replace"))

    def _tasks(self) -> Iterator[Alive]:
        module = sys.modules.get("asyncio.tasks")
        for task in [task for name in _TASKS for task in list(getattr(module, name, ()))]:
            if not task.done():
                name = getattr(task.get_coro(), "__qualname__", task.get_name())
                yield self._numbered("task", task, name)

    def _numbered(self, kind: str, thing: object, name: str) -> Alive:
        if thing not in self._numbers:
            self._last_number += 1
            self._numbers[thing] = self._last_number
        return Alive(kind, self._numbers[thing], name)


class Children:
    """The processes that come from this one, as far as the system has them in /proc.

    Others are looked at once, since looking takes a while where there are many.
    """

    def __init__(self) -> None:
        self._others: set[int] = set()

    def alive(self) -> Iterator[Alive]:
        """Yield those that are alive."""
        pids = {int(name) for name in _names_in("/proc") if name.isdecimal()}
        self._others &= pids
        ours = {os.getpid()}
        for pid in sorted(pids - self._others - ours):  # mostly, a parent comes before its child
            name, state, parent, session = _described(pid)
            if parent not in ours and session != os.getpid():
                self._others.add(pid)
            elif state not in ("Z", "X"):
                ours.add(pid)
                yield Alive("process", pid, name)


def open_descriptors() -> int:
    """Return how many files, sockets and pipes this process has open."""
    return len(_names_in("/dev/fd")) - 1  # without the one that this takes


def _names_in(folder: str) -> list[str]:
    """Return what is in a folder: four times as fast as by pathlib."""
    return os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208


def _described(pid: int) -> tuple[str, str, int, int]:
    """Return a process's name, state, parent and session."""
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:  # it has ended
        return "", "X", 0, 0
    state, parent, _group, session = after.split()[:4]
    return before.partition("(")[2], state, int(parent), int(session)
