import time

import pytest
from doorbell import Doorbell


@pytest.fixture
def doorbell(mosquitto, mqtt_port):
    bell = Doorbell("localhost", mqtt_port)
    time.sleep(0.5)  # until it has subscribed
    yield bell
    bell.unplug()


def test_it_chimes(doorbell, heard):
    heard.publish("bell/button", "pressed")
    topics = [heard.messages.get(timeout=5)[0] for _ in range(2)]
    while "bell/chime" not in topics:
        topics.append(heard.messages.get(timeout=5)[0])


def test_the_battery_is_told(doorbell):
    assert doorbell.chime == "ding"
    assert doorbell.is_alive


def test_it_is_connected(doorbell):
    assert doorbell.client.is_connected()
