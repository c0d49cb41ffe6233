"""aiomqtt in one coroutine."""

import aiomqtt
import broker


class Service:
    """Serves until it is cancelled."""

    async def run(self):
        """Answer every command."""
        async with aiomqtt.Client(broker.host(), broker.port()) as client:
            await client.subscribe("cmd")
            async for message in client.messages:
                await client.publish("state", message.payload, qos=1)
