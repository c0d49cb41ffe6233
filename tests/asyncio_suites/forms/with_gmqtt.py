"""gmqtt, which calls back."""

import asyncio

import broker
import gmqtt


class Service:
    """Is started, and stopped."""

    async def start(self):
        """Connect, and return once it has subscribed."""
        self.client = gmqtt.Client("service")
        self.client.on_message = self._received
        subscribed = asyncio.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        await self.client.connect(broker.host(), broker.port())
        self.client.subscribe("cmd")
        await subscribed.wait()

    def _received(self, client, _topic, payload, _qos, _properties):
        client.publish("state", payload)
        return 0

    async def stop(self):
        """Disconnect."""
        await self.client.disconnect()
