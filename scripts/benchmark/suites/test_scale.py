"""Tests that many workers and runs have at the same time, each on topics of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from shared_mqtt_pool import MQTTMonitor


@pytest.mark.parametrize(
    "turn", range(json.loads(Path(__file__).with_name("settings.json").read_text())["tests"])
)
def test_own_topic(
    mqtt_client: mqtt.Client,
    mqtt_monitor: MQTTMonitor,
    mqtt_topic_factory: Callable[[str], str],
    turn: int,
) -> None:
    payload = f"{os.getpid()} {turn}"
    topic = mqtt_topic_factory("status")
    mqtt_client.publish(topic, payload, qos=1, retain=True)
    [message] = mqtt_monitor.wait_for(topic)
    assert message.payload == payload.encode()
    mqtt_monitor.assert_none(mqtt_topic_factory("alarm"))
