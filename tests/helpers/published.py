"""What a camera detector publishes, and who waits for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

from helpers.camera_detector.detect import CameraDetector
from helpers.camera_topics import EVENTS
from helpers.clients import paho_client


class Address(NamedTuple):
    host: str
    port: int


class Message(NamedTuple):
    topic: str
    payload: str
    retain: bool

    def json(self) -> Any:
        return json.loads(self.payload)


class Published:
    """A subscriber to everything, and all that it has received."""

    def __init__(self, address: Address) -> None:
        self._arrival = threading.Condition()
        self._messages: list[Message] = []
        self._subscribed = threading.Event()
        self._client = paho_client()
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(*address)
        self._client.loop_start()
        assert self._subscribed.wait(5), f"no subscription at {address}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._arrival:
            text = message.payload.decode()
            self._messages.append(Message(message.topic, text, message.retain))
            self._arrival.notify_all()

    def _matching(self, topic: str, where: Callable[[Message], bool]) -> list[Message]:
        return [
            message
            for message in self._messages
            if mqtt.topic_matches_sub(topic, message.topic) and where(message)
        ]

    def wait_for(
        self,
        topic: str,
        where: Callable[[Message], bool] = lambda _message: True,
        timeout: float = 5.0,
    ) -> Message:
        """The latest such message, as soon as there is one."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: self._matching(topic, where), timeout):
                pytest.fail(f"no such message on {topic}, only {self._messages}")
            return self._matching(topic, where)[-1]

    def event(self, kind: str, camera_id: str) -> Any:
        return self.wait_for(EVENTS, is_event(kind, camera_id)).json()

    def all_of(self, detector: CameraDetector, topic: str = "#") -> list[Message]:
        """What the detector published until now: a broker keeps the order of a connection."""
        marker = f"barrier/{time.monotonic_ns()}"
        detector.mqtt_client.publish(marker, qos=1)
        self.wait_for(marker)
        return self.so_far(topic)

    def so_far(self, topic: str) -> list[Message]:
        with self._arrival:
            return self._matching(topic, lambda message: not message.topic.startswith("barrier"))

    def send(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(5)


def is_event(kind: str, camera_id: str) -> Callable[[Message], bool]:
    return lambda message: (message.json()["event"], message.json()["id"]) == (kind, camera_id)


def has(**expected: Any) -> Callable[[Message], bool]:
    return lambda message: expected.items() <= message.json().items()


def says_now(payload: str) -> Callable[[Message], bool]:
    """This payload, and not as a retained message from an earlier time."""
    return lambda message: message.payload == payload and not message.retain


def frigate_cameras(message: Message) -> Any:
    return yaml.safe_load(message.payload)["cameras"]
