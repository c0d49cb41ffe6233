"""A lamp's dimmer, an asyncio service on aiomqtt."""

from __future__ import annotations

import asyncio
import os

import aiomqtt


class Dimmer:
    """Dims on command, and says every minute how bright it is."""

    def __init__(self, topic: str = "lamp") -> None:
        self._loop = asyncio.get_running_loop()  # the constructor needs it
        self._topic = topic
        self.level = 0
        self.reports = 0
        self.is_stopped = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve commands until it is stopped."""
        host, port = os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"])
        async with aiomqtt.Client(host, port) as self._client:
            await self._client.subscribe(f"{self._topic}/set", qos=1)
            reporting = asyncio.create_task(self._report_forever())
            listening = asyncio.create_task(self._listen())
            await self._stopping.wait()
            for task in (reporting, listening):
                task.cancel()
            await asyncio.wait([reporting, listening])

    async def start(self) -> None:
        """Run in the background, for those who call this instead."""
        self._running = asyncio.create_task(self.run())

    async def stop(self) -> None:
        """End."""
        self._stopping.set()
        self.is_stopped = True

    async def _listen(self) -> None:
        async for message in self._client.messages:
            self.level = int(message.payload)
            await self._client.publish(f"{self._topic}/level", message.payload, qos=1)

    async def _report(self) -> str:
        self.reports += 1
        await self._client.publish(f"{self._topic}/report", str(self.level))
        return "reported"

    async def _report_forever(self) -> None:
        while True:
            await self._report()
            await asyncio.sleep(60)
