"""Tests that leave something behind, each with one after it that looks for it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

PATIENCE = 10.0
RETURN = 2.5
"""Seconds in which paho connects again, a second after its connection was lost, and publishes."""

Address = tuple[str, int]

found: dict[str, bool] = {}


@pytest.fixture(scope="module", autouse=True)
def report() -> Any:
    yield
    Path("leaks.json").write_text(json.dumps(found))


class Onlooker:
    """A client that no fixture knows; it sees what is retained, and what is published."""

    def __init__(self, address: Address, topic: str) -> None:
        self.came, self._marker, subscribed = (threading.Event() for _ in range(3))
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_args: client.subscribe([(topic, 0), ("end", 0)])
        self._client.on_subscribe = lambda *_args: subscribed.set()
        self._client.message_callback_add(topic, lambda *_args: self.came.set())
        self._client.message_callback_add("end", lambda *_args: self._marker.set())
        self._client.connect(*address)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE), "no SUBACK"

    def __enter__(self) -> Onlooker:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def has_seen_it(self) -> bool:
        """Return whether the message was among what had been sent before a message of its own."""
        self._client.publish("end", "")
        assert self._marker.wait(PATIENCE), "a message of its own did not come"
        return self.came.is_set()


def publish_for_ever(client: mqtt.Client) -> None:
    pause = threading.Event()
    while True:
        client.publish("left/alive", "")
        pause.wait(0.02)


def test_leaves_a_retained_message(bus: Any) -> None:
    bus.publish("left/retained", "1", 1, retain=True)
    bus.wait_for("left/retained")


def test_whether_it_is_retained(bus: Any, address: Address) -> None:
    with Onlooker(address, "left/retained") as onlooker:
        found["retained message"] = onlooker.has_seen_it()


def test_leaves_a_client(bus: Any, address: Address) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(*address)
    client.loop_start()
    threading.Thread(target=publish_for_ever, args=(client,), daemon=True).start()
    bus.wait_for("left/alive")


def test_whether_it_publishes(bus: Any, address: Address) -> None:
    with Onlooker(address, "left/alive") as onlooker:
        found["client"] = onlooker.came.wait(RETURN)
