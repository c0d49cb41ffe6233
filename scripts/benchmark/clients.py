"""A client without the modules, and round trips on one that has them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import paho.mqtt.client as mqtt
from shared.modules import BrokerError, SharedMQTTPool, TestMQTTBroker, new_client

PATIENCE = 10.0
"""Seconds that the broker gets to answer."""


@contextlib.contextmanager
def bare_connection(broker: TestMQTTBroker) -> Iterator[mqtt.Client]:
    """Do the bare minimum that a test without us has to: a client, connected, and gone."""
    client = new_client()
    connected = threading.Event()
    client.on_connect = lambda *_args: connected.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    _wait_for(connected, "CONNACK")
    yield client
    client.disconnect()
    client.loop_stop()


def connect_and_disconnect(broker: TestMQTTBroker) -> None:
    """Let a bare client come and go."""
    with bare_connection(broker):
        pass


class RoundTrip:
    """Publishes on a client until it comes back on the same client."""

    def __init__(self, pool: SharedMQTTPool, qos: int) -> None:
        self._qos = qos
        self._client = pool.acquire()
        self._arrived = threading.Event()
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_args: subscribed.set()
        self._client.on_message = lambda *_args: self._arrived.set()
        self._client.subscribe(f"round/{qos}", qos)
        _wait_for(subscribed, "SUBACK")

    def __call__(self) -> None:
        """Publish and wait for it."""
        self._arrived.clear()
        self._client.publish(f"round/{self._qos}", b"", self._qos)
        _wait_for(self._arrived, "message")


def _wait_for(event: threading.Event, what: str) -> None:
    if not event.wait(PATIENCE):
        raise BrokerError(f"there was no {what} within {PATIENCE:g} s")
