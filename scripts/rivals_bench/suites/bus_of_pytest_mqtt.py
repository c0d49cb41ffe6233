"""The names that the tests have for what pytest-mqtt gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 10.0


class Bus:
    """`capmqtt` publishes, sleeps, and has what has come by then."""

    def __init__(self, capmqtt: Any) -> None:
        self._capmqtt = capmqtt

    def _payloads(self, topic: str) -> list[bytes]:
        return [message.payload for message in self._capmqtt.messages if message.topic == topic]

    def publish(self, topic: str, payload: str, qos: int = 0, retain: bool = False) -> None:
        """Publish on the client that captures."""
        self._capmqtt.publish(topic, payload, qos=qos, retain=retain)

    def wait_for(self, topic: str) -> bytes:
        """Look until the message is there, if its sleep was too short."""
        deadline = time.monotonic() + PATIENCE
        while not self._payloads(topic):
            assert time.monotonic() < deadline, f"no {topic}"
            time.sleep(0.001)
        return self._payloads(topic)[0]

    def assert_none(self, topic: str) -> None:
        """Look after a message of our own, which comes behind those that are on their way."""
        self.publish("marker", "")
        self.wait_for("marker")
        assert not self._payloads(topic)


@pytest.fixture
def address(mosquitto: tuple[str, int]) -> tuple[str, int]:
    """Where the broker listens."""
    return mosquitto


@pytest.fixture
def bus(address: tuple[str, int], capmqtt: Any) -> Bus:  # noqa: ARG001  # it has to be there first
    """What publishes and waits."""
    return Bus(capmqtt)


@pytest.fixture
def run_round() -> Callable[[Any], None]:
    """Nothing: the thread of a service has begun by itself."""
    return lambda _service: None
