"""What was published since the test began."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import Any, Callable

import paho.mqtt.client as mqtt
import pytest

from ..originals import time
from ..wire.packets import MQTTMessage
from . import limits
from .awaiting import Failed, Wait
from .event_loop import running_loop, settled, told
from .limits import LATEST
from .lingering import lingering_tasks
from .masking import masked
from .pool import SharedMQTTPool

_Search = Generator["tuple[int, float]", bool, "list[MQTTMessage]"]


class MQTTMonitor:
    """What was published since the test began, by any client, in its fixtures too.

    Usage::

        mqtt_monitor.wait_for("device/+/status", count=2)
        mqtt_monitor.assert_none("device/alarm")

    """

    def __init__(self, pool: SharedMQTTPool) -> None:
        self._pool = pool
        self._history = pool.history
        pool.watch()
        start = pool.start_of_test
        self._start = self._history.position if start is None else start
        self._waits: list[Wait] = []

    @property
    def messages(self) -> list[MQTTMessage]:
        """What has arrived so far, in order; the latest, where it was too much to keep."""
        return list(self._history.since(self._start)[0])

    @property
    def dropped(self) -> int:
        """How many earlier messages were not kept."""
        return self._history.dropped_since(self._start)

    def describe_dropped(self) -> str:
        """Say how many messages were not kept, and why."""
        return (
            f"{self.dropped} earlier messages were not kept. The monitor keeps "
            f"{limits.HISTORY_LENGTH} messages and {limits.HISTORY_SIZE} bytes of payload: "
            "call mqtt_monitor.clear() in between."
        )

    def wait_for(
        self,
        topic_filter: str,
        count: int = 1,
        timeout: float = limits.TIMEOUT,
        where: Callable[[MQTTMessage], bool] | None = None,
    ) -> Any:
        """Return the matching messages as soon as there are *count*, from before the call too.

        Where an event loop runs, await it. By then the loop has handled what the broker had to
        say to its clients, acknowledgements included.

        Args:
            topic_filter: an MQTT topic filter, with ``+`` and ``#``.
            count: how many it takes.
            timeout: seconds to wait for them.
            where: a condition that a message has to meet as well.

        Raises:
            ValueError: the topic filter is malformed.
            pytest.fail.Exception: they do not come; the message lists what came instead. It is
                an AssertionError as well.
        """
        __tracebackhide__ = True
        _check_topic_filter(topic_filter)
        search = self._search(topic_filter, count, timeout, where)
        loop = running_loop()
        if loop is not None:
            lingering_tasks.know(loop)
            call = f"mqtt_monitor.wait_for({topic_filter!r}, ...)"
            self._waits.append(Wait(call, lambda: self._await(search)))
            return self._waits[-1]
        try:
            position, seconds = next(search)
            while True:
                is_more = self._history.wait_until_more(position, seconds)
                position, seconds = search.send(is_more)
        except StopIteration as end:
            return end.value

    async def _await(self, search: _Search) -> list[MQTTMessage]:
        __tracebackhide__ = True
        try:
            position, seconds = next(search)
            while True:
                telling = functools.partial(self._history.telling, position)
                position, seconds = search.send(await told(telling, seconds))
        except StopIteration as end:
            found: list[MQTTMessage] = end.value
        await settled(lambda: self._pool.watch().barrier())
        return found

    def _search(
        self,
        topic_filter: str,
        count: int,
        timeout: float,
        where: Callable[[MQTTMessage], bool] | None,
    ) -> _Search:
        """Yield beyond which position, and how many seconds, to wait; take whether that came."""
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        found: list[MQTTMessage] = []
        position = self._start
        while True:
            new, position = self._history.since(position)
            found += [m for m in new if _matches(m, topic_filter, where)]
            if len(found) >= count:
                return found
            seconds = deadline - time.monotonic()  # in a flood, there is more at any time
            if seconds <= 0 or not (yield position, seconds):
                messages = "1 message" if count == 1 else f"{count} messages"
                what = f"{messages} on {topic_filter!r} within {timeout:g} s"
                condition = " that meet the condition" if where else ""
                raise Failed(f"Waited for {what}{condition}; {len(found)} came. {self._arrived()}")

    def check_awaited(self) -> None:
        """Check that each ``wait_for`` in an event loop was awaited.

        Raises:
            pytest.fail.Exception: one was not; says where.
        """
        __tracebackhide__ = True
        forgotten = [wait.advice for wait in self._waits if wait.is_forgotten]
        if forgotten:
            pytest.fail("\n".join(forgotten), pytrace=False)

    def assert_none(self, topic_filter: str) -> None:
        """Check that nothing was published on *topic_filter*, after a barrier.

        Raises:
            ValueError: the topic filter is malformed.
            pytest.fail.Exception: something was; the message lists it. It is an AssertionError as
                well.
        """
        __tracebackhide__ = True
        _check_topic_filter(topic_filter)
        self._pool.barrier()
        found = [m for m in self.messages if _matches(m, topic_filter, None)]
        if self.dropped:
            raise Failed(
                f"Whether nothing was published on {topic_filter!r} cannot be told: "
                f"{self.describe_dropped()}"
            )
        if found:
            listing = "\n".join(f"  {masked(message)}" for message in found)
            raise Failed(f"Nothing was to be published on {topic_filter!r}, but was:\n{listing}")

    def clear(self) -> None:
        """Forget what has been published so far."""
        self._pool.barrier()
        self._start = self._history.position

    def _arrived(self) -> str:
        messages, dropped = self.messages, self.dropped
        if not messages:
            return "Nothing was published at all."
        lines = [f"  {masked(message)}" for message in messages[-LATEST:]]
        if len(messages) + dropped > len(lines):
            lines.insert(0, f"  ({len(messages) + dropped - len(lines)} earlier ones)")
        return "\n".join(["Published were:", *lines])


def _matches(
    message: MQTTMessage, topic_filter: str, where: Callable[[MQTTMessage], bool] | None
) -> bool:
    return mqtt.topic_matches_sub(topic_filter, message.topic) and (not where or where(message))


def _check_topic_filter(topic_filter: str) -> None:
    __tracebackhide__ = True
    levels = topic_filter.split("/")
    misplaced = "#" in "".join(levels[:-1]) or any(
        wildcard in level and level != wildcard for level in levels for wildcard in "+#"
    )
    if not topic_filter or misplaced:
        raise ValueError(
            f"{topic_filter!r} is no MQTT topic filter: + stands for one whole level, "
            "# for all that follow, at the end"
        )
    if topic_filter.startswith("$"):
        raise ValueError(
            f"{topic_filter!r}: the monitor does not see topics that begin with $; of a shared "
            "subscription give what follows the name of its group"
        )
