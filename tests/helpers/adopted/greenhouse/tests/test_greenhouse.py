import asyncio

import aiomqtt


async def test_the_window(greenhouse, broker):
    host, port = broker
    async with aiomqtt.Client(host, port) as client:
        await client.subscribe("glass/is", qos=1)
        await client.publish("glass/window", "open", qos=1)
        message = await asyncio.wait_for(client.messages.__anext__(), 5)
        assert message.payload == b"open"
    assert greenhouse.window == "open"


async def test_it_serves(greenhouse):
    assert greenhouse.serving.is_set()
    assert greenhouse.window == "shut"
