"""Waits until what was published has been handled by the clients of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from ..broker.errors import BrokerError
from ..originals import socket, threading, time
from ..wire.packets import PINGREQ
from . import limits
from . import paho_internals as paho
from .event_loop import (
    event_loop_of,
    is_served_by_event_loop,
    running_loop,
    send_beside_event_loop,
)
from .listeners import is_about_to_connect, is_listening, known_clients
from .network_loop import network_loop_of

PINGRESP = 0xD0

QUIET_ROUNDS = 2
"""What came before the first has gone to all subscribers by its end, and comes in the second."""


def settle_mqtt_clients(timeout: float = limits.TIMEOUT) -> None:
    """Return when all that was published by now has arrived, and this process has handled it.

    For helpers and test cases that can ask for no fixture. What clients publish as they handle it
    counts, too. It works with any broker, for clients that a thread or event loop serves. Usage::

        client.publish("lamp/set", "on")
        settle_mqtt_clients()
        assert lamp.is_on

    Raises:
        BrokerError: a client stays in a callback for *timeout* seconds, or messages go on coming;
            says which. Or no clients are known, or an event loop would have to go on meanwhile.
    """
    if not is_listening():
        raise BrokerError(
            "settle_mqtt_clients() knows no clients: call redirect_to_test_broker() in "
            "conftest.py, or ask for the fixture prompt_mqtt_clients, before they connect."
        )
    clients = [client for client in tuple(known_clients) if _is_served(client)]
    deadline = time.monotonic() + timeout
    with _one_at_a_time, contextlib.ExitStack() as watching:
        traffic = _Traffic(clients, watching)
        quiet = 0
        while quiet < QUIET_ROUNDS:
            quiet = quiet + 1 if traffic.is_quiet_for_a_round(deadline) else 0
            if time.monotonic() > deadline:
                raise BrokerError(f"not settled after {timeout:g} s: {traffic.latest}.")


_one_at_a_time = threading.Lock()


def _is_served(client: Any) -> bool:
    """Return whether *client* is there, and another thread handles what comes for it."""
    if client.socket() is None and not is_about_to_connect(client):
        return False
    if is_served_by_event_loop(client):
        loop = event_loop_of(client)
        if loop is not None and loop is running_loop():
            raise BrokerError(
                f"client {paho.name_of(client)} is served by the event loop that calls "
                "settle_mqtt_clients(): write await asyncio.to_thread(settle_mqtt_clients)."
            )
        return loop is not None and loop.is_running()
    thread: Any = network_loop_of(client)
    return thread not in (None, threading.current_thread()) and bool(thread.is_alive())


class _Traffic:
    """What clients handle, from the beginning to the end of a ``with`` block."""

    def __init__(self, clients: Iterable[Any], watching: contextlib.ExitStack) -> None:
        self.latest = "a client does not connect"
        """What was seen last."""
        self._clients = list(clients)
        self._changed = threading.Condition()
        self._handled = 0
        self._owing: set[Any] = set()
        for client in self._clients:
            watching.callback(paho.watch_packets(client, self._note_of(client)))
            watching.enter_context(_sending_at_once(client))

    def _note_of(self, client: Any) -> Any:
        def note(command: int) -> None:
            with self._changed:
                if command == PINGRESP:
                    self._owing.discard(client)
                else:
                    self._handled += 1
                    self.latest = f"messages go on coming for client {paho.name_of(client)}"
                self._changed.notify_all()

        return note

    def is_quiet_for_a_round(self, deadline: float) -> bool:
        """Return whether no client has handled anything while each got an answer to a PINGREQ.

        The broker answers in the order in which it was asked, and so does the client.
        """
        before, deadline = self._handled, max(deadline, time.monotonic() + limits.LOOK_INTERVAL)
        self._owing = {client for client in self._clients if paho.is_open(client)}
        for client in tuple(self._owing):
            _ping(client)
        while time.monotonic() <= deadline:
            with self._changed:
                if any(map(is_about_to_connect, self._clients)):
                    self._changed.wait(limits.LOOK_INTERVAL)
                    return False
                if self._changed.wait_for(lambda: not self._owing, limits.LOOK_INTERVAL):
                    return self._handled == before
                # What a connection that has broken has not brought will not come.
                self._owing = {client for client in self._owing if paho.is_open(client)}
        if self._handled == before:
            raise BrokerError(_why_no_answer(self._owing))
        return False


@contextlib.contextmanager
def _sending_at_once(client: Any) -> Iterator[None]:
    """Let a PINGREQ not wait for the acknowledgement of what came before it, for 40 ms."""
    raw = paho.raw_socket(client)
    option = socket.IPPROTO_TCP, socket.TCP_NODELAY
    try:
        before = raw.getsockopt(*option)
        raw.setsockopt(*option, 1)
    except (OSError, AttributeError):  # it is no TCP, or not connected
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            raw.setsockopt(*option, before)


def _ping(client: Any) -> None:
    with contextlib.suppress(OSError):  # it is being ended
        if is_served_by_event_loop(client):
            send_beside_event_loop(client, PINGREQ)
        else:
            paho.queue_packet(client, PINGREQ)


def _why_no_answer(clients: Iterable[Any]) -> str:
    names = ", ".join(paho.name_of(client) for client in clients)
    kept = ", ".join(paho.name_of(client) for client in clients if paho.is_in_callback(client))
    if kept:
        return f"client {kept} stays in a callback, and so handles nothing: let it return."
    return f"no answer from the broker of client {names}: check that it is running."
