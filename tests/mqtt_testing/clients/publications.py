"""Which clients of the process have published, and what of it is still on its way."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from typing import Any

import paho.mqtt.client as mqtt

from ..originals import monotonic
from . import limits
from .network_loop import network_loop_of


class Publications:
    """Messages of QoS 1 and 2 that are not acknowledged, by client; from any thread.

    Of QoS 0 there is nothing to send that would not go out before a barrier.
    """

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self._lock = threading.Lock()
        self._unsent: weakref.WeakKeyDictionary[Any, deque[mqtt.MQTTMessageInfo]]
        self._unsent = weakref.WeakKeyDictionary()

    def note(self, client: Any, topic: str, qos: int, info: mqtt.MQTTMessageInfo) -> None:
        """Note a message that *client* has accepted for publication."""
        self.topics.add(topic)
        with self._lock:
            unsent = _unsettled(self._unsent.setdefault(client, deque()))
            if qos > 0 and info.rc == mqtt.MQTT_ERR_SUCCESS:
                unsent.append(info)

    def forget(self, client: Any) -> None:
        """Forget what *client* has published."""
        with self._lock:
            self._unsent.pop(client, None)

    @property
    def clients(self) -> set[Any]:
        """The clients that have published."""
        with self._lock:
            return set(self._unsent)

    def await_acknowledgements(self, client: Any) -> None:
        """Wait until the messages of *client* are sent: paho sends 20 ahead and queues others."""
        thread = network_loop_of(client)
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return  # no thread receives acknowledgements meanwhile
        deadline = monotonic() + limits.TIMEOUT
        with self._lock:
            unsent = tuple(_unsettled(self._unsent.get(client, deque())))
        for info in unsent:
            with contextlib.suppress(RuntimeError, ValueError):  # lost with a connection
                info.wait_for_publish(max(0.0, deadline - monotonic()))


def _unsettled(messages: deque[mqtt.MQTTMessageInfo]) -> deque[mqtt.MQTTMessageInfo]:
    """Take the first of *messages* away that are on their way, or lost with their connection."""
    while messages and (messages[0].rc != mqtt.MQTT_ERR_SUCCESS or messages[0].is_published()):
        messages.popleft()
    return messages
