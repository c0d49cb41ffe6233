"""What clients of this process have published since the test began, and how they got in."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Any, Union

from ..originals import time
from ..wire.packets import MQTTMessage
from . import paho_internals as paho

KEPT = 100
"""How many of the latest are kept, of publications and of answers to a CONNECT."""

Name = Union[str, int]
"""A client id, or the port of a client that leaves its id to the broker."""

_PORT = "_mqtt_port"


@dataclass
class Published:
    """A message that a client has accepted for publication, its payload as it was given."""

    number: int
    time: float
    client: Name
    topic: str | None  # of MQTT 5, where an alias stands for it
    payload: Any
    qos: int
    retain: bool

    @property
    def message(self) -> MQTTMessage:
        """What the broker gets to see."""
        payload = "" if self.payload is None else self.payload
        payload = payload if isinstance(payload, bytes) else str(payload).encode()
        return MQTTMessage(self.topic or "", payload, self.qos, bool(self.retain))


@dataclass
class Answered:
    """The CONNACK of a client; its code is 0 where the broker lets it in."""

    time: float
    client: Name
    port: int
    code: int
    will: MQTTMessage | None


published: deque[tuple[Any, ...]] = deque(maxlen=KEPT)
"""What makes a ``Published`` each: to make it takes longer."""

answered: deque[Answered] = deque(maxlen=KEPT)
_numbers = itertools.count()


def forget() -> None:
    """Forget all of it, as a test begins."""
    global _numbers
    published.clear()
    answered.clear()
    _numbers = itertools.count()


def note_published(client: Any, topic: str | None, payload: Any, qos: int, retain: bool) -> None:
    """Note a message; what it takes to show it waits for a test that fails."""
    payload = bytes(payload) if isinstance(payload, bytearray) else payload  # which may change
    name = paho.client_id_of(client) or vars(client).get(_PORT, "")
    published.append((next(_numbers), time.monotonic(), name, topic, payload, qos, retain))


def note_answered(client: Any) -> None:
    """Note the CONNACK that *client* is about to handle."""
    port = vars(client)[_PORT] = paho.own_port_of(client)
    name = paho.client_id_of(client) or port
    code, will = paho.connack_code_of(client), paho.will_of(client)
    answered.append(Answered(time.monotonic(), name, port, code, will))
