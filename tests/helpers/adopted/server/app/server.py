"""A server: asyncio, keyword arguments, a plugin in strict mode, tests in packages."""

import asyncio, contextlib
import aiomqtt


class Server:
    def __init__(self, *, host: str, port: int, loop_interval: float = 0.3):
        self.host, self.port, self.interval = host, port, loop_interval
        self.running = False
        self.ticks = 0
        self._tasks = []

    async def start(self):
        self._stack = contextlib.AsyncExitStack()
        self.client = await self._stack.enter_async_context(
            aiomqtt.Client(self.host, self.port)
        )
        await self.client.subscribe("srv/in", qos=1)
        self.running = True
        self._tasks = [
            asyncio.create_task(self._serve()),
            asyncio.create_task(self._tick_loop()),
        ]

    async def _serve(self):
        async for m in self.client.messages:
            await self.client.publish("srv/out", m.payload)

    async def _tick_loop(self):
        while self.running:
            await self.tick()
            await asyncio.sleep(self.interval)

    async def tick(self):
        self.ticks += 1
        await self.client.publish("srv/tick", str(self.ticks))

    async def stop(self):
        self.running = False
        for t in self._tasks:
            t.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()
