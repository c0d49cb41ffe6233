"""paho, whose socket the event loop serves."""

import asyncio

import broker
import paho.mqtt.client as mqtt


class Service:
    """Reads and writes when the loop says that it can."""

    def __init__(self):
        """Tell paho where to find the loop."""
        self.loop = asyncio.get_running_loop()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_socket_open = self._open
        self.client.on_socket_close = lambda _c, _u, sock: self.loop.remove_reader(sock)
        self.client.on_socket_register_write = self._register
        self.client.on_socket_unregister_write = lambda _c, _u, sock: self.loop.remove_writer(sock)
        self.client.on_connect = lambda client, *_: client.subscribe("cmd")
        self.client.on_message = lambda client, _u, m: client.publish("state", m.payload, qos=1)

    def _open(self, client, _userdata, sock):
        self.loop.add_reader(sock, client.loop_read)
        self.misc = self.loop.create_task(self._misc())

    def _register(self, client, _userdata, sock):
        self.loop.add_writer(sock, client.loop_write)

    async def _misc(self):
        while self.client.loop_misc() == mqtt.MQTT_ERR_SUCCESS:
            await asyncio.sleep(1)

    async def start(self):
        """Connect."""
        self.client.connect(broker.host(), broker.port())

    async def stop(self):
        """Disconnect."""
        self.client.disconnect()
        self.misc.cancel()
