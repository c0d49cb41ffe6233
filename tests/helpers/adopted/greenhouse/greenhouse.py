"""A greenhouse: asyncio, and an object with its settings."""

import asyncio
from dataclasses import dataclass

import aiomqtt


@dataclass
class Settings:
    host: str
    port: int
    topic: str = "greenhouse"


class Greenhouse:
    def __init__(self, settings):
        self.settings = settings
        self.window = "shut"
        self.reports = 0
        self.serving = asyncio.Event()

    async def run(self):
        async with aiomqtt.Client(self.settings.host, self.settings.port) as self.client:
            await self.client.subscribe(f"{self.settings.topic}/window", qos=1)
            reporting = asyncio.create_task(self._report_forever())
            self.serving.set()
            try:
                async for message in self.client.messages:
                    self.window = message.payload.decode()
                    await self.client.publish(f"{self.settings.topic}/is", self.window)
            finally:
                reporting.cancel()

    async def _report_forever(self):
        while True:
            await self._report()
            await asyncio.sleep(0.2)

    async def _report(self):
        self.reports += 1
        await self.client.publish(f"{self.settings.topic}/report", str(self.reports))

    async def close(self):
        self.window = "shut"
