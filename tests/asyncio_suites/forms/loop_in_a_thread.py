"""aiomqtt in an event loop of its own, in a thread of its own: the service is synchronous."""

import asyncio
import threading

import aiomqtt
import broker


class Service:
    """Is started and stopped by plain calls."""

    def __init__(self):
        """Make the loop."""
        self.loop = asyncio.new_event_loop()
        self.subscribed = threading.Event()
        self.thread = threading.Thread(target=self._serve, name="service's loop", daemon=True)

    def start(self):
        """Begin, and wait until it has subscribed."""
        self.thread.start()

    def _serve(self):
        asyncio.set_event_loop(self.loop)
        self.serving = self.loop.create_task(self._listen())
        try:
            self.loop.run_until_complete(self.serving)
        except asyncio.CancelledError:
            pass
        finally:
            self.loop.close()

    async def _listen(self):
        async with aiomqtt.Client(broker.host(), broker.port()) as client:
            await client.subscribe("cmd")
            self.subscribed.set()
            async for message in client.messages:
                await client.publish("state", message.payload)

    def stop(self):
        """Cancel its task, and wait for the thread."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.serving.cancel)
            self.thread.join()
