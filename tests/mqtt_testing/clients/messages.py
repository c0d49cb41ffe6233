"""Messages as they were published, and the latest of them."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator

from ..wire.publish import MQTTMessage
from . import limits


class History:
    """The latest messages, and how many there have been, whichever connection brought them."""

    def __init__(self) -> None:
        self._messages: deque[MQTTMessage] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self.position = 0  # where it ends at present: after so many messages

    def append(self, message: MQTTMessage) -> None:
        """Add *message*, and forget the oldest where there are too many or too large ones."""
        with self._changed:
            self._messages.append(message)
            self._size += len(message.payload)
            self.position += 1
            while len(self._messages) > 1 and self._is_too_much():
                self._size -= len(self._messages.popleft().payload)
            self._changed.notify_all()

    def _is_too_much(self) -> bool:
        return len(self._messages) > limits.HISTORY_LENGTH or self._size > limits.HISTORY_SIZE

    def since(self, position: int) -> tuple[Iterator[MQTTMessage], int]:
        """Return the messages from *position* on, as far as they were kept, and where they end.

        They are held one by one: in a flood, others take their place while they are looked at.
        """
        with self._changed:
            latest = list(itertools.islice(reversed(self._messages), self.position - position))
            return (latest.pop() for _ in range(len(latest))), self.position

    def dropped_since(self, position: int) -> int:
        """Return how many messages from *position* on were not kept."""
        with self._changed:
            return max(0, self.position - position - len(self._messages))

    def wait_until_more(self, position: int, timeout: float) -> bool:
        """Wait for it to go beyond *position*; False where it does not in *timeout* seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.position > position, timeout)
