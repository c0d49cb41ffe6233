"""aiomqtt in an exit stack, and tasks of its own that listen and tick."""

import asyncio
import contextlib

import aiomqtt
import broker


class Service:
    """Is started, and stopped."""

    async def start(self):
        """Connect, and begin the tasks."""
        self.stack = contextlib.AsyncExitStack()
        client = aiomqtt.Client(broker.host(), broker.port())
        self.client = await self.stack.enter_async_context(client)
        await self.client.subscribe("cmd", qos=1)
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._tick())]

    async def _listen(self):
        async for message in self.client.messages:
            await self.client.publish("state", message.payload)

    async def _tick(self):
        while True:
            await asyncio.sleep(0.01)
            await self.client.publish("tick")

    async def stop(self):
        """End the tasks, and disconnect."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.stack.aclose()
