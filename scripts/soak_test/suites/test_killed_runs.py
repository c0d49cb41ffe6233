"""A second or two of brokers that start and stop, to be killed in."""

from __future__ import annotations

import paho.mqtt.client as mqtt
import pytest
from mqtt_test_broker import TestMQTTBroker
from shared_mqtt_pool import MQTTMonitor


@pytest.mark.parametrize("n", range(20))
def test_it(
    mqtt_client: mqtt.Client,
    mqtt_monitor: MQTTMonitor,
    isolated_mqtt_broker: TestMQTTBroker,
    n: int,
) -> None:
    mqtt_client.publish("a", str(n), qos=1, retain=True)
    mqtt_monitor.wait_for("a")
    isolated_mqtt_broker.restart()
