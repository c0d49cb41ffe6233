"""aiomqtt with a loop around it that connects anew."""

import asyncio

import aiomqtt
import broker


class Service:
    """Serves, whatever becomes of its connection."""

    def __init__(self):
        """Make the client once: it can be entered again."""
        self.client = aiomqtt.Client(broker.host(), broker.port(), identifier="reconnecting")

    async def run(self):
        """Connect as often as it takes."""
        while True:
            try:
                async with self.client:
                    await self.client.subscribe("cmd", qos=1)
                    async for message in self.client.messages:
                        await self.client.publish("state", message.payload, qos=1)
            except aiomqtt.MqttError:  # noqa: PERF203
                await asyncio.sleep(1)
