"""A gateway that a function builds, and a meter beside it."""

import threading
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

from . import radio


def new_client():
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)


class Gateway:
    def __init__(self, url, device):
        self.address = urlsplit(url)
        self.device = device
        self.seen = []
        self.nodes = []
        self.client = new_client()
        self.client.on_connect = lambda client, *_: client.subscribe("gateway/in")
        self.client.on_message = self._on_message

    def register(self, node):
        self.nodes.append(node)

    def start(self):
        self.client.connect(self.address.hostname, self.address.port)
        self.client.loop_start()
        self._beat()

    def _beat(self):
        self._tell_state()
        self.timer = threading.Timer(30, self._beat)
        self.timer.start()

    def _tell_state(self):
        self.client.publish("gateway/state", ",".join(self.nodes), retain=True)

    def _on_message(self, client, userdata, message):
        self.seen.append(message.payload)
        client.publish("gateway/out", message.payload)

    def stop(self):
        self.timer.cancel()
        self.client.disconnect()
        self.client.loop_stop()


def make_gateway(url) -> Gateway:
    return Gateway(url, radio.open_device("ttyUSB0"))


class Meter:
    def __init__(self, broker_url):
        self.address = urlsplit(broker_url)
        self.client = new_client()
        self.connected = threading.Event()
        self.client.on_connect = lambda *_: self.connected.set()

    def __enter__(self):
        self.client.connect(self.address.hostname, self.address.port)
        self.client.loop_start()
        return self

    def __exit__(self, *error):
        self.shut()

    def shut(self):
        self.client.disconnect()
        self.client.loop_stop()
