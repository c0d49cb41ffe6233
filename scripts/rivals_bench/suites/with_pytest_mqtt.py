"""pytest-mqtt brings the client; a service is the suite's own."""

from collections.abc import Iterator

import pytest

from rivals_bench.suites.service import Service


@pytest.fixture
def service(mosquitto: tuple[str, int]) -> Iterator[Service]:
    service = Service(*mosquitto)
    yield service
    service.stop()
