"""The connection of the irrigation service, in the way of paho's own example of a client class."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client
from paho.mqtt.client import Client, MQTTMessage, topic_matches_sub

logger = logging.getLogger(__name__)

RETRY_PAUSES = (5, 10, 20)
CONNACK_TIMEOUT = 10.0

Listener = Callable[[str, str], None]
"""Gets the topic below that of the site, and the text."""


def _callback_version() -> dict[str, Any]:
    versions = getattr(paho.mqtt.client, "CallbackAPIVersion", None)  # since paho-mqtt 2.0
    return {"callback_api_version": versions.VERSION2} if versions else {}


class GardenLink(Client):
    """All topics are below that of the site."""

    def __init__(self, site: str) -> None:
        # Habit: one fixed client id, and a session that outlives the service.
        super().__init__(client_id=f"irrigation-{site}", clean_session=False, **_callback_version())
        self.site = site
        self.listeners: dict[str, Listener] = {}
        self.up = threading.Event()
        self.will_set(f"{site}/irrigation/available", "no", qos=1, retain=True)

    def dial(self, host: str, port: int) -> None:
        # Habit: it sleeps between its attempts, and waits for its own callback.
        for pause in (*RETRY_PAUSES, 0):
            try:
                self.connect(host, port)
                break
            except OSError as error:
                logger.warning("no broker at %s:%d: %s", host, port, error)
                time.sleep(pause)
        self.loop_start()
        if not self.up.wait(CONNACK_TIMEOUT):
            raise ConnectionError(f"no MQTT broker at {host}:{port}")

    def hang_up(self) -> None:
        self.say("irrigation/available", "no", retain=True)
        # Habit: the wrong way round, and paho's loop ends a second later.
        self.loop_stop()
        self.disconnect()

    def say(self, topic: str, content: Any, *, retain: bool = False) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.publish(f"{self.site}/{topic}", text, qos=1, retain=retain)

    # Habit: methods in the place of paho's properties of these names.

    def on_connect(self, *_args: Any) -> None:
        for topic in self.listeners:
            self.subscribe(f"{self.site}/{topic}", qos=1)
        self.say("irrigation/available", "yes", retain=True)
        self.up.set()

    def on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        topic = message.topic[len(self.site) + 1 :]
        for pattern, listener in self.listeners.items():
            if topic_matches_sub(pattern, topic):
                listener(topic, message.payload.decode())
