"""A broker that is killed in one test, and has to be there for the next."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from mqtt_test_broker import TestMQTTBroker
from shared_mqtt_pool import MQTTMonitor, SharedMQTTPool

KILLS = json.loads(Path("settings.json").read_text())["kills"]

Kill = Callable[[TestMQTTBroker], None]


def on_request(broker: TestMQTTBroker) -> None:
    broker.kill()


def unexpectedly(broker: TestMQTTBroker) -> None:
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)


@pytest.mark.parametrize("how", [on_request, unexpectedly], scope="class")
@pytest.mark.parametrize("n", range(KILLS // 2), scope="class")
class TestRecovery:
    def test_kill(
        self,
        test_mqtt_broker: TestMQTTBroker,
        mqtt_client_factory: Callable[[], mqtt.Client],
        mqtt_monitor: MQTTMonitor,
        n: int,
        how: Kill,
    ) -> None:
        clients = [mqtt_client_factory() for _ in range(1 + n % 5)]
        for number, client in enumerate(clients):
            client.subscribe("#")
            client.publish(f"kept/{number}", "1", qos=1, retain=True)
        mqtt_monitor.wait_for("kept/+", count=len(clients))
        how(test_mqtt_broker)
        clients[0].publish("lost", "1", qos=1)

    def test_next(
        self,
        shared_mqtt_pool: SharedMQTTPool,
        mqtt_client: mqtt.Client,
        mqtt_monitor: MQTTMonitor,
        n: int,
        how: Kill,
    ) -> None:
        assert mqtt_monitor.messages == []
        assert shared_mqtt_pool.watch().know_retained() == {}
        mqtt_client.publish("round/trip", str(n), qos=1)
        [message] = mqtt_monitor.wait_for("round/trip")
        assert message.payload == str(n).encode()
