"""Fixtures of all tests."""

import socket
import subprocess
import time
from unittest.mock import patch

import pytest
from gateway.core import Meter, make_gateway


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session", autouse=True)
def broker_url():
    port = free_port()
    process = subprocess.Popen(["mosquitto", "-p", str(port)])
    time.sleep(0.5)
    yield f"mqtt://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture
def gateway(broker_url):
    """A gateway with a radio that is none."""
    with patch("gateway.radio.open_device", return_value="no radio"):
        service = make_gateway(broker_url)
        service.register("kitchen")
        service.start()
        deadline = time.monotonic() + 5
        while not service.client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        yield service
        service.stop()


@pytest.fixture
def meter(broker_url):
    with Meter(broker_url) as service:
        assert service.connected.wait(5)
        time.sleep(0.4)
        yield service
