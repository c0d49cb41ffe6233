import asyncio
import socket
import subprocess
import time

import pytest

from greenhouse import Greenhouse, Settings


@pytest.fixture(scope="module")
def broker():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["mosquitto", "-p", str(port)])
    time.sleep(0.5)
    yield "127.0.0.1", port
    process.kill()
    process.wait()


@pytest.fixture
async def greenhouse(broker):
    host, port = broker
    house = Greenhouse(Settings(host, port, topic="glass"))
    running = asyncio.create_task(house.run())
    await asyncio.sleep(0.6)
    yield house
    await house.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
