"""What clients of this process have published since the test began, and how they got in.

All of it is noted as it comes; what it takes to show it waits for a test that fails.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..originals import time
from . import paho_internals as paho

if TYPE_CHECKING:
    from .messages import History

KEPT = 100
"""How many of the latest are kept, of publications and of answers to a CONNECT."""

_PORT = "_mqtt_port"
_ALIASES = "_mqtt_topic_aliases"

published: deque[tuple[Any, ...]] = deque(maxlen=KEPT)
"""What makes a ``Published`` of the timeline each, with the port of a client without an id."""

answered: deque[tuple[Any, ...]] = deque(maxlen=KEPT)
"""What makes an ``Answered`` each."""

start = (0.0, 0.0)
"""When the test began: on the clock that only goes on, and on that of mosquitto's log."""

positions: weakref.WeakKeyDictionary[History, int] = weakref.WeakKeyDictionary()
"""Where the history of each pool ended then."""

_numbers = itertools.count(), itertools.count()
"""Those of the next publication, and of the next answer."""


def begin_test(histories: Iterable[History]) -> None:
    """Forget the traffic of the test before."""
    global start, _numbers
    start = time.monotonic(), time.time()
    published.clear()
    answered.clear()
    _numbers = itertools.count(), itertools.count()
    for history in histories:
        positions[history] = history.position


def topic_meant(client: Any, topic: str, properties: Any = None) -> str:
    """Return *topic*, or that for which an alias of MQTT 5 stands; empty where it is not known."""
    if hasattr(properties, "TopicAlias"):  # it stands for a topic from then on
        aliases = vars(client).setdefault(_ALIASES, {})
        topic = aliases[properties.TopicAlias] = topic or aliases.get(properties.TopicAlias, "")
    return topic


def note_published(client: Any, topic: str, payload: Any, qos: int, retain: bool) -> None:
    """Note a message that *client* has accepted for publication."""
    payload = bytes(payload) if isinstance(payload, bytearray) else payload  # which may change
    name = paho.client_id_of(client) or vars(client).get(_PORT, "")
    published.append((next(_numbers[0]), time.monotonic(), name, topic, payload, qos, retain))


def note_answered(client: Any) -> None:
    """Note the CONNACK that *client* is about to handle."""
    port = vars(client)[_PORT] = paho.own_port_of(client)
    name = paho.client_id_of(client) or port
    code, will = paho.connack_code_of(client), paho.will_of(client)
    answered.append((next(_numbers[1]), time.monotonic(), name, port, code, will))
