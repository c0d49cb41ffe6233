"""pytest-xprocess, which waits for a line in the log of what it starts."""

from collections.abc import Iterator

import pytest
from xprocess import ProcessStarter, XProcess

from rivals_bench.suites.hand_written import free_port, mqtt_bus, service


@pytest.fixture(scope="session")
def broker(xprocess: XProcess) -> Iterator[tuple[str, int]]:
    port = free_port()

    class Starter(ProcessStarter):  # type: ignore[misc]
        pattern = "running"
        args = ("mosquitto", "-p", str(port))
        terminate_on_interrupt = True

    xprocess.ensure("mosquitto", Starter)
    yield "127.0.0.1", port
    xprocess.getinfo("mosquitto").terminate()
