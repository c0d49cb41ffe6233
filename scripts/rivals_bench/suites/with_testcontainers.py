"""testcontainers, which starts mosquitto in a container."""

from collections.abc import Iterator

import pytest
from testcontainers.mqtt import MosquittoContainer

from rivals_bench.suites.hand_written import mqtt_bus, service


@pytest.fixture(scope="session")
def broker() -> Iterator[tuple[str, int]]:
    with MosquittoContainer() as container:
        yield container.get_container_host_ip(), int(container.get_exposed_port(1883))
