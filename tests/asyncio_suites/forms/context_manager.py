"""aiomqtt in a service that is an async context manager itself."""

import asyncio

import aiomqtt
import broker


class Service:
    """Serves between its entry and its exit."""

    async def __aenter__(self):
        """Connect, and listen in a task."""
        self.client = await aiomqtt.Client(broker.host(), broker.port()).__aenter__()
        await self.client.subscribe("cmd")
        self.listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc_info):
        """End the task, and disconnect."""
        self.listening.cancel()
        await asyncio.wait([self.listening])
        await self.client.__aexit__(*exc_info)

    async def _listen(self):
        async for message in self.client.messages:
            await self.client.publish("state", message.payload)
