"""aiomqtt, a queue, and workers that consume it."""

import asyncio

import aiomqtt
import broker


class Service:
    """Waits for its queue as it stops."""

    async def start(self):
        """Begin a task that connects, and return once it has subscribed."""
        self.queue = asyncio.Queue(maxsize=2)
        subscribed = asyncio.get_running_loop().create_future()
        self.producer = asyncio.create_task(self._produce(subscribed))
        await subscribed

    async def _produce(self, subscribed):
        async with aiomqtt.Client(broker.host(), broker.port(), clean_session=True) as client:
            await client.subscribe("cmd")
            workers = [asyncio.create_task(self._work(client)) for _ in range(3)]
            subscribed.set_result(None)
            try:
                async for message in client.messages:
                    await self.queue.put(message)
            finally:
                for worker in workers:
                    worker.cancel()

    async def _work(self, client):
        while True:
            message = await self.queue.get()
            try:
                await client.publish("state", message.payload)
            finally:
                self.queue.task_done()

    async def stop(self):
        """Let the workers finish, and end."""
        await self.queue.join()
        self.producer.cancel()
        await asyncio.wait([self.producer])
