"""A service with one of each: a thread, a timer, two executors, and a client of paho-mqtt."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import paho.mqtt.client as mqtt


def new_client():
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)


class Gatehouse:
    def __init__(self):
        self.on_duty = True
        self.client = new_client()
        self.client.on_connect = self._connected
        self.client.on_message = self._commanded
        self.client.connect("localhost", 1883)
        self.client.loop_start()
        self._executor = ThreadPoolExecutor(2)
        self._counting = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._round = threading.Thread(target=self._walk_for_ever, name="round")
        self._round.start()
        self._evening = threading.Timer(60, self._close)
        self._evening.start()
        self._off_duty = threading.Event()

    def _connected(self, client, *_args):
        client.subscribe("gate/command", qos=1)

    def _commanded(self, _client, _userdata, message):
        self._executor.submit(self._move, message.payload)

    def _move(self, payload):
        self.client.publish("gate/state", payload, qos=1, retain=True)

    def _close(self):
        self._move(b"close")

    def _walk_for_ever(self):
        while self.on_duty:
            self._walk()
            self._off_duty.wait(60)

    def _walk(self):
        self.client.publish("gate/round", "all well")

    def count(self):
        return self._counting.submit(sum, [1, 2]).result(20)

    def stop(self):
        self.on_duty = False
        self._off_duty.set()
        self._evening.cancel()
        self._executor.shutdown()
        self._counting.shutdown()
        self.client.disconnect()
        self.client.loop_stop()
