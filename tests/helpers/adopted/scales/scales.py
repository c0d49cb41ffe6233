"""Scales: one client for the module, made as it is imported, and a port that is written out."""

import threading

import paho.mqtt.client as mqtt

CLIENT = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)


class Scales:
    def __init__(self, unit="kg"):
        self.unit = unit
        self.grams = 0
        self.ready = threading.Event()

    def open(self):
        CLIENT.on_connect = lambda client, *_: client.subscribe("scales/tare")
        CLIENT.on_subscribe = lambda *_: self.ready.set()
        CLIENT.on_message = lambda client, *_: client.publish("scales/weight", f"0 {self.unit}")
        CLIENT.connect("localhost", HARD_PORT)
        CLIENT.loop_start()

    def put(self, grams):
        self.grams += grams
        CLIENT.publish("scales/weight", str(self.grams))

    def close(self):
        CLIENT.disconnect()
        CLIENT.loop_stop()
