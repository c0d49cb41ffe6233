"""paho with its own thread, which hands messages to the loop."""

import asyncio

import broker
import paho.mqtt.client as mqtt


class Service:
    """Answers in a coroutine."""

    def __init__(self):
        """Take the loop, and a queue in it."""
        self.loop, self.queue = asyncio.get_running_loop(), asyncio.Queue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("cmd")
        self.client.on_message = self._received

    def _received(self, _client, _userdata, message):
        self.loop.call_soon_threadsafe(self.queue.put_nowait, message.payload)

    async def run(self):
        """Answer what is in the queue."""
        self.client.connect(broker.host(), broker.port())
        self.client.loop_start()
        while True:
            self.client.publish("state", await self.queue.get())

    async def stop(self):
        """Disconnect, and wait for the thread."""
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)
