"""Subscriptions, and what came by them."""

from __future__ import annotations

import threading
from typing import Any

import paho.mqtt.client as mqtt


class Inbox:
    """What a client's on_message was given."""

    def __init__(self, client: mqtt.Client) -> None:
        self._changed = threading.Condition()
        self.messages: list[mqtt.MQTTMessage] = []
        client.on_message = self._on_message

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    @property
    def topics(self) -> list[str]:
        """Their topics, in the order in which they came."""
        return [message.topic for message in self.messages]

    def wait_for(self, topic: str) -> None:
        """Wait for a message on a topic."""
        with self._changed:
            came = self._changed.wait_for(lambda: topic in self.topics, 10)
        assert came, f"waited for {topic}, there came {self.topics}"


def subscribe(client: mqtt.Client, topic_filter: str, qos: int = 0) -> None:
    """Subscribe and wait for the SUBACK."""
    granted = threading.Event()
    client.on_subscribe = lambda *_args: granted.set()
    client.subscribe(topic_filter, qos)
    assert granted.wait(10), f"no SUBACK for {topic_filter}"
