"""amqtt's client."""

import asyncio

import broker
from amqtt.client import MQTTClient


class Service:
    """Is started, and stopped."""

    async def start(self):
        """Connect, subscribe, and listen in a task."""
        self.client = MQTTClient(config={"auto_reconnect": False})
        await self.client.connect(f"mqtt://{broker.host()}:{broker.port()}/")
        await self.client.subscribe([("cmd", 1)])
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self):
        while True:
            message = await self.client.deliver_message()
            await self.client.publish("state", bytes(message.data))

    async def stop(self):
        """End the task, and disconnect."""
        self.listening.cancel()
        await asyncio.wait([self.listening])
        await self.client.disconnect()
