"""Cuts the connections of clients to a broker, as a network does."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from collections.abc import Callable, Collection, Iterator

from .errors import BrokerError

OBSERVER_ID_PREFIX = "mqtt-test-observer-"
"""Begins the client ids of connections that watch the broker for the tests, and belong to none."""

READY_ID_PREFIX = "ready-"
"""Begins the client ids of connections that ask whether a broker answers."""

_NEW_CLIENT = re.compile(r"New client connected from \S+:(\d+) as (.+) \(p\d, c\d")


def disconnect_clients(port: int, log: str, client_ids: Collection[str]) -> None:
    """Cut the connections of this process to a broker: of some clients, or of all but observers.

    What it has logged tells whose connection is whose.

    Raises:
        BrokerError: a client that is named is not connected from this process.
    """
    __tracebackhide__ = True
    names = {int(port): name for port, name in _NEW_CLIENT.findall(log)}  # the last one counts

    def is_wanted(client_port: int) -> bool:
        name = names.get(client_port, "")
        return name in client_ids if client_ids else not name.startswith(OBSERVER_ID_PREFIX)

    cut = _cut_connections(port, is_wanted)
    missed = set(client_ids) - {names[port] for port in cut if port in names}
    if missed:
        ours = (OBSERVER_ID_PREFIX, READY_ID_PREFIX)
        others = sorted({name for name in names.values() if not name.startswith(ours)})
        hint = f" The client ids that came are {', '.join(others)}." if others else ""
        which = ", ".join(sorted(missed))
        raise BrokerError(f"no client {which} is connected from this process.{hint}")


def _cut_connections(port: int, is_wanted: Callable[[int], bool]) -> set[int]:
    """Shut our ends of connections to *port* down; return the clients' own ports."""
    cut = set()
    for connection in _sockets():
        with connection, contextlib.suppress(OSError):  # one without a peer is no connection
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                own_port, peer_port = connection.getsockname()[1], connection.getpeername()[1]
                if peer_port == port and is_wanted(own_port):
                    connection.shutdown(socket.SHUT_RDWR)
                    cut.add(own_port)
    return cut


def _sockets() -> Iterator[socket.socket]:
    """Give duplicates of the sockets of this process."""
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208
        with contextlib.suppress(OSError):  # it was the descriptor that listed them
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield socket.socket(fileno=os.dup(number))
