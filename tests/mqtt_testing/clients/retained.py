"""What a broker retains, as far as it has been seen."""

from __future__ import annotations

import threading
from collections.abc import Container, Mapping

from ..wire.publish import MQTTMessage


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
