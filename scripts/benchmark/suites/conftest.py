"""The fixtures that are timed."""

from __future__ import annotations

from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish
from mqtt_test_broker import TestMQTTBroker
from shared_mqtt_pool import mqtt_client
from test_detect import config, mock_onvif, network_mocks

from benchmark.clients import bare_connection


@pytest.fixture
def bare_client(session_mqtt_broker: TestMQTTBroker) -> Iterator[mqtt.Client]:
    """What a suite without us has: a client, connected, and gone."""
    with bare_connection(session_mqtt_broker) as client:
        yield client
