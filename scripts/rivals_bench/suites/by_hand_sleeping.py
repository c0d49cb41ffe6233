"""A broker for each test, and a sleep until it is surely there."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from rivals_bench.suites.hand_written import free_port, mqtt_bus, service


@pytest.fixture
def broker() -> Iterator[tuple[str, int]]:
    port = free_port()
    with subprocess.Popen(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL) as process:
        time.sleep(2)
        yield "127.0.0.1", port
        process.terminate()
