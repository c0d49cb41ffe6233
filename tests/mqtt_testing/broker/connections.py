"""The port of a broker, and the connections that clients have to it."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ..originals import os, socket
from .errors import BrokerError, PortInUseError

# How the client ids of our own connections begin: one watches, the other asks for an answer.
OBSERVER_ID_PREFIX = "mqtt-test-observer-"
READY_ID_PREFIX = "ready-"

_EVENT = (  # not compiled here: a run may need none
    r"^(?:(\d+): |.*?: )?(?:New client connected from \S+:(\d+) as (.+) \(p(\d), c(\d)|"
    r"Client (.+?)(?: \[\S+\])? (?:been )?"
    r"((?:disconnected|closed its|has exceeded|already connected|not authorised).*?)\.?$|"
    r"Bad socket read/write on client (.+): (.+?)\.?$)"
)


class LoggedEvent(NamedTuple):
    """What a client did, by mosquitto's log."""

    second: int  # since 1970; 0 where the log does not say it
    port: int  # of its own end, where it has connected; REFUSED, or 0 where it has gone
    client_id: str
    what: str


REFUSED = -1


def logged_events(log: str) -> list[LoggedEvent]:
    """Return what *log* says of clients that came, were refused or went; not of our own.

    What only looks whether the port is open is no client.
    """
    ours = (OBSERVER_ID_PREFIX, READY_ID_PREFIX)
    events = [event for event, _ in _events(log) if not event.client_id.startswith(ours)]
    return [event for event in events if event[2:] != ("<unknown>", "closed its connection")]


def sessions_left(log: str) -> set[str]:
    """Return the client ids that came and went in *log*, and may have left a session behind."""
    left: set[str] = set()
    here: set[str] = set()
    for event, may_leave_session in _events(log):
        if event.port > 0:
            left.discard(event.client_id)
            (here.add if may_leave_session else here.discard)(event.client_id)
        elif event.port == 0 and event.client_id in here:
            left.add(event.client_id)
    return {client_id for client_id in left if not client_id.startswith(OBSERVER_ID_PREFIX)}


def _events(log: str) -> Iterator[tuple[LoggedEvent, bool]]:
    """Yield what clients did, and whether one has connected so that it may leave a session.

    The log says whether a session was to be kept; with MQTT 5 it does not say for how long.
    """
    for found in re.findall(_EVENT, log, re.MULTILINE):
        second, port, new, protocol, clean, old, went, lost, why = found
        kind = REFUSED if "not authorised" in went else int(port or 0)
        what = went or (f"disconnected: {why}" if lost else "connected")
        event = LoggedEvent(int(second or 0), kind, new or old or lost, what)
        yield event, protocol == "5" or clean == "0"


def reserve_port(host: str, port: int) -> socket.socket:
    """Bind *port*, or a free one where it is 0, so that no other process takes it.

    The socket does not listen: on Linux mosquitto can bind the same port beside it.
    """
    __tracebackhide__ = True
    reservation = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reservation.bind((host, port))
    except OSError as error:
        reservation.close()
        if not port:
            raise BrokerError(f"no port can be had on {host!r}: {error.strerror}.") from None
        raise PortInUseError(
            f"port {port} on {host} cannot be had: {error.strerror}. "
            "Stop what uses it, or leave `port` out to get a free one."
        ) from None
    return reservation


def disconnect_clients(port: int, log: str, client_ids: Collection[str]) -> None:
    """Cut the connections of this process to a broker: of some clients, or of all but observers.

    What it has logged tells whose connection is whose.

    Raises:
        BrokerError: a client that is named is not connected from this process.
    """
    __tracebackhide__ = True
    # Of those that had a port, the last one counts.
    names = {event.port: event.client_id for event, _ in _events(log) if event.port > 0}
    missed = set(client_ids)
    for own_port, connection in _connections_to(port):
        name = names.get(own_port, "")
        if name in client_ids or not (client_ids or name.startswith(OBSERVER_ID_PREFIX)):
            with contextlib.suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)
                missed.discard(name)
    if missed:
        others = sorted({event.client_id for event in logged_events(log) if event.port > 0})
        hint = f" The client ids that came are {', '.join(others)}." if others else ""
        which = ", ".join(sorted(missed))
        raise BrokerError(f"no client {which} is connected from this process.{hint}")


def _connections_to(port: int) -> Iterator[tuple[int, socket.socket]]:
    """Give duplicates of our sockets that are connected to *port*, each with its own port."""
    for number in map(int, os.listdir("/dev/fd")):
        # It may be the descriptor that listed them, or a socket without a peer.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as connection:
                    is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
                    if is_tcp and connection.getpeername()[1] == port:
                        yield connection.getsockname()[1], connection
