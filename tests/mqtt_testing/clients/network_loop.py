"""Whose thread runs the network loop of a client; waking and stopping it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ..originals import socket, threading
from . import paho_internals as paho


class StayInLoop:
    """A thread that has called ``loop_forever()``, and whether it is out again."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.over = threading.Event()


STAY_IN_LOOP = "_mqtt_stay_in_loop"


def stay_in_loop(client: Any) -> StayInLoop | None:
    """Return which thread, not the client's own, is in its ``loop_forever()``."""
    stay: StayInLoop | None = vars(client).get(STAY_IN_LOOP)
    return None if stay is None or stay.over.is_set() else stay


RUN_BY_HAND = "_mqtt_run_by_hand"  # what a client has whose loop() others call, in any thread


def may_be_in_loop(client: Any) -> bool:
    """Return whether a thread, not the client's own, may be in its network loop at present."""
    return stay_in_loop(client) is not None or RUN_BY_HAND in vars(client)


def network_loop_of(client: Any) -> threading.Thread | None:
    """Return the thread in which *client* is served, be it the client's own or another."""
    stay = stay_in_loop(client)
    thread: threading.Thread | None = stay.thread if stay else paho.own_thread_of(client)
    return thread


def stop_network_loop(client: Any, thread: threading.Thread) -> None:
    """Let the network loop notice at once that it has to end, not at the end of its second."""
    paho.tell_loop_to_end(client)
    wake_up_of(thread).set()
    paho.wake_network_loop(client)


class PauseIsOverError(Exception):
    """A network loop is told to connect while it pauses between two attempts."""


TOLD_TO_CONNECT = "_mqtt_told_to_connect"  # and its network loop has not begun to


def tell_to_connect(client: Any) -> None:
    """Let the network loop of *client*, if it runs, connect at once, not after its pause."""
    thread = network_loop_of(client)
    if thread is not None and thread is not threading.current_thread():
        vars(client)[TOLD_TO_CONNECT] = True
        wake_up_of(thread).set()
        paho.wake_network_loop(client)


@contextlib.contextmanager
def pausing(client: Any) -> Iterator[None]:
    """Pause between two attempts in the block, which ends as *client* is told to connect."""
    thread = threading.current_thread()
    vars(thread)[_PAUSING] = client
    try:
        with contextlib.suppress(PauseIsOverError):
            yield
    finally:
        del vars(thread)[_PAUSING]
    if TOLD_TO_CONNECT in vars(client):
        _let_pause(thread, client)


def connected(client: Any, network_loop: threading.Thread) -> None:
    """Called when *client* has handled its CONNACK: its network loop is told no more."""
    if vars(client).pop(TOLD_TO_CONNECT, False):
        _let_pause(network_loop, client)


def _let_pause(thread: threading.Thread, client: Any) -> None:
    wake_up_of(thread).clear()
    if paho.is_told_to_end(client):
        wake_up_of(thread).set()


_PAUSING = "_mqtt_pausing_client"


class PromptTime:
    """Stands in for the module ``time`` inside paho, whose network loop sleeps between retries."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless the network loop of this thread is told to stop, or to connect."""
        thread = threading.current_thread()
        wake_up_of(thread).wait(seconds)
        if TOLD_TO_CONNECT in getattr(vars(thread).get(_PAUSING), "__dict__", ()):
            raise PauseIsOverError


def wake_up_of(thread: threading.Thread) -> threading.Event:
    """Return the event that ends the pauses of a network loop in *thread*."""
    wake_up: threading.Event = thread.__dict__.setdefault("_mqtt_wake_up", threading.Event())
    return wake_up


class _WakeUpEnd(socket.socket):
    """Closes as it is let go: paho's ``loop_start()`` makes a new pair and forgets the old one."""

    def __del__(self) -> None:
        self.close()


def wake_up_pair() -> tuple[socket.socket, socket.socket]:
    """Make the pair that wakes a network loop; paho's own is a TCP connection to itself."""
    one, other = (
        _WakeUpEnd(end.family, end.type, end.proto, end.detach()) for end in socket.socketpair()
    )
    for end in (one, other):
        end.setblocking(False)
    return one, other


def write_if_no_loop_does(client: Any) -> None:
    """Send what is queued where no network loop does: none runs, or we are called by it."""
    thread = network_loop_of(client)
    if thread is None or thread is threading.current_thread() or not thread.is_alive():
        client.loop_write()
