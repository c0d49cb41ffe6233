"""A service with a thread, written as well as can be: it begins at once, and ends at once."""

from __future__ import annotations

import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

PATIENCE = 10.0


class Service:
    """Publishes its state from a thread, at once and every minute."""

    def __init__(self, host: str = "127.0.0.1", port: int = 1883) -> None:
        self._ended = threading.Event()
        connected = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda *_args: connected.set()
        self._client.connect(host, port)
        self._client.loop_start()
        assert connected.wait(PATIENCE), "no CONNACK"
        self._thread = threading.Thread(target=self._rounds)
        self._thread.start()

    def _rounds(self) -> None:
        while not self._ended.is_set():
            self._round()
            self._ended.wait(60)

    def _round(self) -> None:
        self._client.publish("service/state", "on")

    def stop(self) -> None:
        """End the thread and the connection."""
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()
