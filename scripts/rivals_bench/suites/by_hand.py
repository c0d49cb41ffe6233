"""A broker for the session, started by hand; no sleeps but between two looks at its port."""

import subprocess
from collections.abc import Iterator

import pytest

from rivals_bench.suites.hand_written import free_port, mqtt_bus, service, wait_for_port


@pytest.fixture(scope="session")
def broker() -> Iterator[tuple[str, int]]:
    port = free_port()
    with subprocess.Popen(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL) as process:
        wait_for_port(port)
        yield "127.0.0.1", port
        process.terminate()
