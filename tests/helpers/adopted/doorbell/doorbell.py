"""A doorbell: threads, and its broker as constructor arguments."""

import threading
import time

import paho.mqtt.client as mqtt


class Doorbell:
    def __init__(self, host, port, chime="ding"):
        self.chime = chime
        self.battery = 100
        self.is_alive = True
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("bell/button")
        self.client.on_message = lambda client, _, message: client.publish("bell/chime", self.chime)
        self.client.connect(host, port)
        self.client.loop_start()
        self.watcher = threading.Thread(target=self._watch_forever)
        self.watcher.start()

    def _watch_forever(self):
        while self.is_alive:
            self._watch_battery()
            time.sleep(0.3)

    def _watch_battery(self):
        self.battery -= 1
        self.client.publish("bell/battery", str(self.battery), retain=True)

    def unplug(self):
        self.is_alive = False
        self.watcher.join()
        self.client.loop_stop()
        self.client.disconnect()
