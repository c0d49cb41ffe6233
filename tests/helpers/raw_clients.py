"""Clients without paho, whose network loop cannot look at more than a thousand sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mqtt_testing.wire.packets import mqtt_length, mqtt_string

TESTS = Path(__file__).resolve().parent.parent
CLEAN_SESSION = 0x02
SUBACK = b"\x90"
DISCONNECT = b"\xe0\x00"


def connect(port: int, client_id: str) -> socket.socket:
    """Return a connection whose CONNECT has got its CONNACK."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    body = mqtt_string("MQTT") + bytes([4, CLEAN_SESSION]) + struct.pack("!H", 0)
    body += mqtt_string(client_id)
    connection.sendall(b"\x10" + mqtt_length(len(body)) + body)
    assert connection.recv(4, socket.MSG_WAITALL) == b"\x20\x02\x00\x00"
    return connection


def publish(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH of QoS 0."""
    body = mqtt_string(topic) + payload
    return b"\x30" + mqtt_length(len(body)) + body


def subscribe(topic_filter: str) -> bytes:
    """Return a SUBSCRIBE of QoS 0."""
    body = b"\x00\x01" + mqtt_string(topic_filter) + b"\x00"
    return b"\x82" + mqtt_length(len(body)) + body


def flood(port: int, thousands: int) -> None:
    """Publish so many thousand messages of 100 bytes, and one that says how many it were."""
    connection = connect(port, "flood")
    connection.settimeout(None)
    thousand = publish("flood", b"x" * 100) * 1000
    for _ in range(thousands):
        connection.sendall(thousand)
    connection.sendall(publish("flood/end", str(thousands).encode()) + DISCONNECT)
    while connection.recv(65536):
        pass


def load(port: int) -> None:
    """Publish until killed: a hundred messages at a time, and on once they have come back."""
    connection = connect(port, "load")
    connection.settimeout(None)
    hundred = publish("load", b"x" * 100) * 100
    connection.sendall(subscribe("load"))
    assert connection.recv(5, socket.MSG_WAITALL)[:1] == SUBACK
    while True:
        connection.sendall(hundred)
        connection.recv(len(hundred), socket.MSG_WAITALL)


def crowd(port: int, count: int) -> None:
    """Hold so many connections until stdin ends; each publishes when it is made and at its end."""
    connections = [connect(port, f"client-{number}") for number in range(count)]
    for number, connection in enumerate(connections):
        connection.sendall(publish(f"hello/{number}", b""))
    sys.stdin.read()
    for number, connection in enumerate(connections):
        connection.sendall(publish(f"goodbye/{number}", b"") + DISCONNECT)


@contextlib.contextmanager
def in_another_process(
    function: Callable[..., None], *arguments: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a function of this module in a process of its own, which is killed at the end."""
    call = f"from helpers.raw_clients import {function.__name__} as run; run{arguments}"
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); {call}"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
