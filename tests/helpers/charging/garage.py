"""What is around the charger: a meter, and a client that gives orders and hears the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiomqtt
import pytest

from .meter import Reading


class FakeMeter:
    """A meter that says what it was told to say."""

    def __init__(self) -> None:
        self.surplus_watts = 0.0
        self.car_is_plugged_in = True
        self.is_out_of_order = False

    async def read(self) -> Reading:
        if self.is_out_of_order:
            raise OSError("no answer")
        return Reading(self.surplus_watts, self.car_is_plugged_in)


class Garage:
    """Written by hand: it publishes, and sleeps until what it waits for should have happened."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self._heard: list[tuple[str, str]] = []

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self._heard.append((message.topic.value, message.payload.decode()))

    async def orders(self, what: str, how: str) -> None:
        await self._client.publish(f"charger/set/{what}", how, qos=1)
        await asyncio.sleep(0.3)  # 0.3 s: "until it has been obeyed"

    async def hears(
        self, topic: str, is_meant: Callable[[str], bool] = lambda _text: True, count: int = 1
    ) -> str:
        """The last of so many such texts, as soon as they are there."""
        for _ in range(50):
            texts = [text for text in self._so_far(topic) if is_meant(text)]
            if len(texts) >= count:
                return texts[-1]
            await asyncio.sleep(0.1)  # 0.1 s for each look
        pytest.fail(f"no such text on {topic}, only {self._heard}")

    async def has_heard(self, topic: str) -> list[str]:
        """All texts until now."""
        await asyncio.sleep(0.5)  # 0.5 s: "until all that is on its way has come"
        return self._so_far(topic)

    async def hears_state(self, **fields: Any) -> Any:
        text = await self.hears("charger/state", lambda text: fields.items() <= _items(text))
        return json.loads(text)

    def _so_far(self, topic: str) -> list[str]:
        return [text for of, text in self._heard if of == topic]


class FastGarage(Garage):
    """The same with what is lent to it: it waits for messages, and for nothing else."""

    def __init__(self, client: Any, monitor: Any) -> None:
        self._lent = client
        self._monitor = monitor

    async def orders(self, what: str, how: str) -> None:
        self._lent.publish(f"charger/set/{what}", how, qos=1)

    async def hears(
        self, topic: str, is_meant: Callable[[str], bool] = lambda _text: True, count: int = 1
    ) -> str:
        messages = await self._monitor.wait_for(
            topic, count=count, where=lambda message: is_meant(message.payload.decode())
        )
        return str(messages[-1].payload.decode())

    async def has_heard(self, topic: str) -> list[str]:
        self._monitor.assert_none("garage/nothing")  # a barrier: all that was sent is there
        return self._so_far(topic)

    def _so_far(self, topic: str) -> list[str]:
        messages = self._monitor.messages
        return [message.payload.decode() for message in messages if message.topic == topic]


async def poll(charger: Any) -> None:
    """One whole poll that begins now, by itself or on request."""
    run_explicitly = getattr(charger, "run_poll_once", None)
    if run_explicitly:
        await run_explicitly()
    else:
        await asyncio.sleep(1.1)  # 1.1 s: two intervals of the suite's settings


def begin_to_poll(charger: Any) -> None:
    """From now on it polls by itself, if it does not do so yet."""
    getattr(charger, "test_enable_background_tasks", lambda: None)()


def _items(text: str) -> Any:
    return json.loads(text).items()
