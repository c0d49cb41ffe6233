"""paho's loop_forever() in an executor, and coroutines that its thread starts."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import broker
import paho.mqtt.client as mqtt


class Service:
    """Serves as long as a call in its executor takes."""

    async def run(self):
        """Connect in the executor, too, which blocks for no coroutine."""
        self.loop = asyncio.get_running_loop()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("cmd")
        self.client.on_message = self._received
        executor = ThreadPoolExecutor(max_workers=1)
        await self.loop.run_in_executor(executor, self.client.connect, broker.host(), broker.port())
        await self.loop.run_in_executor(executor, self.client.loop_forever)

    def _received(self, _client, _userdata, message):
        asyncio.run_coroutine_threadsafe(self._answer(message.payload), self.loop)

    async def _answer(self, payload):
        self.client.publish("state", payload)

    def stop(self):
        """Disconnect, which ends the call."""
        self.client.disconnect()
