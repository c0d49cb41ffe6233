"""Steps that behaviours share."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import Any, Callable

from paho.mqtt.properties import Properties

from helpers.conformance.recording import TIMEOUT, Recorder

FENCE = "fence/"
_fence_numbers = itertools.count()


def subscribe(recorder: Recorder, client: Any, *filters: str, qos: int = 2) -> None:
    """Subscribe and wait until the broker has granted it; to the fence as well."""
    granted = recorder.count(client, "on_subscribe") + 1
    client.message_callback_add(FENCE + "#", lambda *_: None)
    client.subscribe([*((topic, qos) for topic in filters), (FENCE + "#", 2)])
    recorder.wait_for(client, "on_subscribe", granted)


def fence(client: Any, publisher: Any = None, qos: int = 2) -> None:
    """Wait for a message to oneself: all that was on its way before has arrived.

    The QoS is that of the messages before it: one with a shorter handshake would overtake them.
    """
    topic = f"{FENCE}{next(_fence_numbers)}"
    passed = threading.Event()
    client.message_callback_add(topic, lambda *_: passed.set())
    (publisher or client).publish(topic, "", qos).wait_for_publish(TIMEOUT)
    assert passed.wait(TIMEOUT)


def settle(client: Any) -> None:
    """Wait until the broker has noticed what reached it before, such as a DISCONNECT of others."""
    client.publish("settle", qos=1).wait_for_publish(TIMEOUT)


def drive(client: Any, condition: Callable[[], bool]) -> None:
    """Run the network loop by hand until *condition* holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "the network loop by hand got nowhere"
        client.loop(timeout=0.02)


def drive_until(recorder: Recorder, client: Any, name: str, count: int = 1) -> None:
    """Run the network loop by hand until *name* was recorded *count* times."""
    drive(client, lambda: recorder.count(client, name) >= count)


def break_connection(client: Any) -> None:
    """Break the connection without a DISCONNECT."""
    client.socket().shutdown(socket.SHUT_RDWR)


def properties_of(packet: int, **values: Any) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call, unused-ignore]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
