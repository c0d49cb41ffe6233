"""A lamp that finds its broker in the environment."""

import os
import threading

import paho.mqtt.client as mqtt


class Lamp:
    def __init__(self):
        self.level = 0
        self.changed = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("lamp/set")
        self.client.on_message = self._set

    def start(self):
        self.client.connect(os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"]))
        self.client.loop_start()

    def _set(self, client, userdata, message):
        self.level = int(message.payload)
        self.changed.set()

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()
