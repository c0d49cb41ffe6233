"""aiomqtt with tasks in a group, where Python has groups."""

import asyncio

import aiomqtt
import broker


class Service:
    """Serves until it is cancelled, with two tasks that end together."""

    async def run(self):
        """Listen and answer."""
        self.answers = asyncio.Queue()
        async with aiomqtt.Client(broker.host(), broker.port()) as self.client:
            await self.client.subscribe("cmd")
            await self._together(self._listen(), self._answer())

    async def _together(self, *coroutines):
        if not hasattr(asyncio, "TaskGroup"):
            await asyncio.gather(*coroutines)
            return
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)

    async def _listen(self):
        async for message in self.client.messages:
            await self.answers.put(message.payload)

    async def _answer(self):
        while True:
            await self.client.publish("state", await self.answers.get(), qos=2)
