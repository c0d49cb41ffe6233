"""What was published: the latest messages, what is retained, what is still on its way."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections import deque
from collections.abc import Container, Iterator, Mapping
from typing import Any, Callable

import paho.mqtt.client as mqtt

from ..originals import threading, time
from ..wire.packets import MQTTMessage
from . import limits
from .network_loop import network_loop_of


class History:
    """The latest messages, and how many there have been, whichever connection brought them."""

    def __init__(self) -> None:
        self._messages: deque[MQTTMessage] = deque()
        self._times: deque[float] = deque(maxlen=limits.LATEST)  # at which the latest arrived
        self._size = 0
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], object]] = []
        self.position = 0  # where it ends at present: after so many messages

    def append(self, message: MQTTMessage) -> None:
        """Add *message*, and forget the oldest where there are too many or too large ones."""
        with self._changed:
            self._messages.append(message)
            self._times.append(time.monotonic())
            self._size += len(message.payload)
            self.position += 1
            while len(self._messages) > 1 and self._is_too_much():
                self._size -= len(self._messages.popleft().payload)
            self._changed.notify_all()
            listeners, self._listeners = self._listeners, []
        for tell in listeners:
            tell()

    @contextlib.contextmanager
    def telling(self, position: int, tell: Callable[[], object]) -> Iterator[None]:
        """Call *tell* once it goes beyond *position*, from any thread, if that is in the block."""
        with self._changed:
            self._listeners.append(tell)
            is_there = self.position > position
        if is_there:
            tell()
        try:
            yield
        finally:
            with self._changed, contextlib.suppress(ValueError):  # it has been told
                self._listeners.remove(tell)

    def _is_too_much(self) -> bool:
        return len(self._messages) > limits.HISTORY_LENGTH or self._size > limits.HISTORY_SIZE

    def since(self, position: int) -> tuple[Iterator[MQTTMessage], int]:
        """Return the messages from *position* on, as far as they were kept, and where they end.

        They are held one by one: in a flood, others take their place while they are looked at.
        """
        with self._changed:
            latest = list(itertools.islice(reversed(self._messages), self.position - position))
            return (latest.pop() for _ in range(len(latest))), self.position

    def timed_since(self, position: int) -> list[tuple[float, MQTTMessage]]:
        """Return the latest messages from *position* on, a few, each with when it arrived."""
        with self._changed:
            pairs = zip(reversed(self._times), reversed(self._messages))
            return list(itertools.islice(pairs, self.position - position))[::-1]

    def dropped_since(self, position: int) -> int:
        """Return how many messages from *position* on were not kept."""
        with self._changed:
            return max(0, self.position - position - len(self._messages))

    def wait_until_more(self, position: int, timeout: float) -> bool:
        """Wait for it to go beyond *position*; False where it does not in *timeout* seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.position > position, timeout)


class RetainedMessages:
    """The latest retained message of each topic; from any thread."""

    def __init__(self) -> None:
        self._messages: dict[str, MQTTMessage] = {}
        self._lock = threading.Lock()

    def note(self, message: MQTTMessage) -> None:
        """Note a message that was published as retained; an empty one clears its topic."""
        with self._lock:
            if message.payload:
                self._messages[message.topic] = message
            else:
                self._messages.pop(message.topic, None)

    def forget(self) -> None:
        """Begin anew: what is still retained comes with a subscription."""
        with self._lock:
            self._messages.clear()

    def snapshot(self) -> dict[str, MQTTMessage]:
        """Return the messages by topic."""
        with self._lock:
            return dict(self._messages)

    def differences(
        self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None
    ) -> tuple[list[MQTTMessage], list[str]]:
        """Return which messages are missing, and which topics have one too many.

        Args:
            wanted: the messages that are to be retained, by topic.
            only: the topics that count; None for all.
        """
        with self._lock:
            missing = [m for topic, m in wanted.items() if self._messages.get(topic) != m]
            surplus = [topic for topic in self._messages if topic not in wanted]
        if only is None:
            return missing, surplus
        return (
            [message for message in missing if message.topic in only],
            [topic for topic in surplus if topic in only],
        )


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
        deadline = time.monotonic() + limits.TIMEOUT
        with self._lock:
            unsent = tuple(_unsettled(self._unsent.get(client, deque())))
        for info in unsent:
            with contextlib.suppress(RuntimeError, ValueError):  # lost with a connection
                info.wait_for_publish(max(0.0, deadline - time.monotonic()))


def _unsettled(messages: deque[mqtt.MQTTMessageInfo]) -> deque[mqtt.MQTTMessageInfo]:
    """Take the first of *messages* away that are on their way, or lost with their connection."""
    while messages and (messages[0].rc != mqtt.MQTT_ERR_SUCCESS or messages[0].is_published()):
        messages.popleft()
    return messages
