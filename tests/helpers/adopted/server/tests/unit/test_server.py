import asyncio
import aiomqtt
import pytest

pytestmark = pytest.mark.asyncio


async def test_echo(server, broker_info):
    async with aiomqtt.Client(broker_info.host, broker_info.port) as c:
        await c.subscribe("srv/out", qos=1)
        await c.publish("srv/in", "x")
        m = await asyncio.wait_for(c.messages.__anext__(), 5)
        assert m.payload == b"x"


async def test_running(server):
    assert server.running
