"""amqtt's broker, in a thread of the process of the tests."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from amqtt.broker import Broker

from rivals_bench.suites.hand_written import PATIENCE, free_port, mqtt_bus, service


@pytest.fixture(scope="session")
def broker() -> Iterator[tuple[str, int]]:
    port = free_port()
    plugin = "amqtt.plugins.authentication.AnonymousAuthPlugin"
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {plugin: {"allow_anonymous": True}},
    }

    async def start() -> Broker:
        broker = Broker(config)
        await broker.start()
        return broker

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    yield "127.0.0.1", port
    asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
