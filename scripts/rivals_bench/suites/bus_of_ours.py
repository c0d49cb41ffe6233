"""The names that the tests have for our fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


class Bus:
    """A client on loan publishes, and the monitor waits."""

    def __init__(self, client: Any, monitor: Any) -> None:
        self._client, self._monitor = client, monitor
        self.assert_none = monitor.assert_none

    def publish(self, topic: str, payload: str, qos: int = 0, retain: bool = False) -> None:
        """Publish on the client."""
        self._client.publish(topic, payload, qos, retain)

    def wait_for(self, topic: str) -> bytes:
        """Wait for the message that was published."""
        payload: bytes = self._monitor.wait_for(topic)[0].payload
        return payload


@pytest.fixture
def bus(mqtt_client: Any, mqtt_monitor: Any) -> Bus:
    """What publishes and waits."""
    return Bus(mqtt_client, mqtt_monitor)


@pytest.fixture
def address(session_mqtt_broker: Any) -> tuple[str, int]:
    """Where the broker listens."""
    return session_mqtt_broker.host, session_mqtt_broker.port


@pytest.fixture
def run_round() -> Callable[[Any], None]:
    """Runs a round of a service, whose thread is held."""

    def run(service: Any) -> None:
        service.run_round_once()

    return run
