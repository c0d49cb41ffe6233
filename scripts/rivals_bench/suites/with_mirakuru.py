"""mirakuru's executor, which waits for the port of what it starts."""

from collections.abc import Iterator

import pytest
from mirakuru import TCPExecutor

from rivals_bench.suites.hand_written import free_port, mqtt_bus, service


@pytest.fixture(scope="session")
def broker() -> Iterator[tuple[str, int]]:
    port = free_port()
    with TCPExecutor(["mosquitto", "-p", str(port)], "127.0.0.1", port, timeout=10):
        yield "127.0.0.1", port
