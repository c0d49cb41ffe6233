"""A client for each test and a service, as a suite without us writes them."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rivals_bench.suites.service import Service

PATIENCE = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not listens(port):
        assert time.monotonic() < deadline, f"nothing listens on port {port}"
        time.sleep(0.005)


class Bus:
    def __init__(self, host: str, port: int) -> None:
        self._received: list[mqtt.MQTTMessage] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_args: client.subscribe("#", 2)
        self._client.on_subscribe = lambda *_args: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(host, port)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE), "no SUBACK"

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self._received.append(message)
            self._changed.notify_all()

    def _payloads(self, topic: str) -> list[bytes]:
        return [bytes(message.payload) for message in self._received if message.topic == topic]

    def publish(self, topic: str, payload: str, qos: int = 0, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos, retain)

    def wait_for(self, topic: str) -> bytes:
        with self._changed:
            assert self._changed.wait_for(lambda: self._payloads(topic), PATIENCE), f"no {topic}"
            return self._payloads(topic)[0]

    def assert_none(self, topic: str) -> None:
        marker = f"marker/{uuid.uuid4()}"
        self.publish(marker, "")
        self.wait_for(marker)
        assert not self._payloads(topic)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def mqtt_bus(broker: tuple[str, int]) -> Iterator[Bus]:
    bus = Bus(*broker)
    yield bus
    bus.close()


@pytest.fixture
def service(broker: tuple[str, int]) -> Iterator[Service]:
    service = Service(*broker)
    yield service
    service.stop()
