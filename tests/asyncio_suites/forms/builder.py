"""A coroutine that builds the service, connected and subscribed."""

import asyncio

import aiomqtt
import broker


class Service:
    """Is given its client."""

    def __init__(self, client):
        """Listen from now on."""
        self.client = client
        self.listening = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self):
        async for message in self.client.messages:
            await self.client.publish("state", message.payload, qos=1)

    async def close(self):
        """End the task, and disconnect."""
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)
        await self.client.__aexit__(None, None, None)


async def build():
    """Return a service that serves."""
    client = aiomqtt.Client(broker.host(), broker.port(), keepalive=5)
    await client.__aenter__()
    await client.subscribe("cmd")
    return Service(client)
