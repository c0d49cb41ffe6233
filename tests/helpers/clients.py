"""Plain paho clients, made as anybody makes them, to look at a broker from outside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as mqtt

TIMEOUT = 10.0
NOWHERE = "192.0.2.1"  # an address that is reserved for documentation


class PlainClient:
    """A connection, or the refusal of one."""

    def __init__(self, client: mqtt.Client) -> None:
        self._client = client
        self._answered = threading.Event()
        self._changed = threading.Condition()
        self._messages: list[mqtt.MQTTMessage] = []
        self._subscribed = threading.Event()
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_args: self._subscribed.set()
        client.on_message = self._on_message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _on_connect(self, _client: Any, _userdata: Any, flags: Any, *_args: Any) -> None:
        # A dictionary in paho 1.6, an object in 2.x.
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        self.session_present = bool(present)
        self._answered.set()

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def open(self, host: str, port: int) -> None:
        """Connect and wait for the answer, whatever it is."""
        self._client.connect(host, port)
        self._client.loop_start()
        assert self._answered.wait(TIMEOUT), "no CONNACK"

    def close(self) -> None:
        """Disconnect and end the network loop."""
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe_and_wait(self, topic_filter: str, qos: int = 0) -> None:
        """Subscribe and wait for the SUBACK."""
        self._subscribed.clear()
        self._client.subscribe(topic_filter, qos)
        assert self._subscribed.wait(TIMEOUT), "no SUBACK"

    def received_on(self, topic_filter: str) -> list[mqtt.MQTTMessage]:
        """Subscribe, and return what the broker had retained."""
        end = f"end/{id(self)}"
        self.subscribe_and_wait(topic_filter)
        self.subscribe_and_wait(end)
        self._client.publish(end)
        self.wait_for(end)
        return [m for m in self._messages if m.topic != end]

    def wait_for(self, topic: str) -> mqtt.MQTTMessage:
        """Wait for a message on a topic."""
        with self._changed:
            came = self._changed.wait_for(lambda: self._on(topic), TIMEOUT)
        assert came, f"nothing on {topic}; there came {[m.topic for m in self._messages]}"
        return self._on(topic)[0]

    def _on(self, topic: str) -> list[mqtt.MQTTMessage]:
        return [m for m in self._messages if m.topic == topic]


def paho_client(**options: Any) -> mqtt.Client:
    """Make a client with whatever callbacks the installed paho has."""
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **options)
    return mqtt.Client(**options)


@contextlib.contextmanager
def connected(
    broker: Any,
    *,
    username: str | None = None,
    password: str | None = None,
    ssl_context: Any = None,
    **options: Any,
) -> Iterator[PlainClient]:
    """Connect to *broker*: ``with connected(broker) as client``."""
    client = paho_client(**options)
    if username:
        client.username_pw_set(username, password)
    if ssl_context:
        client.tls_set_context(ssl_context)
    plain = PlainClient(client)
    plain.open(broker.host, broker.port)
    try:
        yield plain
    finally:
        plain.close()
