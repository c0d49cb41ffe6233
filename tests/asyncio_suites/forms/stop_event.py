"""aiomqtt in a task that an Event ends: stop() sets it, and waits for nothing."""

import asyncio

import aiomqtt
import broker


class Service:
    """Ends soon after it was asked to."""

    def __init__(self):
        """Nothing runs yet."""
        self.stopping = asyncio.Event()

    async def run(self):
        """Listen until the Event is set."""
        async with aiomqtt.Client(broker.host(), broker.port()) as self.client:
            await self.client.subscribe("cmd")
            listening = asyncio.ensure_future(self._listen())
            await self.stopping.wait()
            listening.cancel()

    async def _listen(self):
        async for message in self.client.messages:
            await self.client.publish("state", message.payload, retain=True)

    def stop(self):
        """Say that it is to end."""
        self.stopping.set()
