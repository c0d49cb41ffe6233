"""Charges a car with what the sun leaves over: an asyncio service on aiomqtt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os

import aiomqtt

from .meter import Meter, Reading

LOG = logging.getLogger(__name__)

MODES = ("off", "sun", "full")
LEAST, MOST = 6, 32  # amperes that a car can be charged with
VOLTS = 230


class Charger:
    """Obeys `charger/set/mode` and `charger/set/limit`, polls the meter, and tells its state."""

    def __init__(self, meter: Meter) -> None:
        self.mode = "sun"
        self.limit = 16
        self.amperes = 0
        self.polls = 0
        self._meter = meter
        self._reading = Reading(0.0, car_is_plugged_in=False)
        self._poll_seconds = float(os.environ.get("POLL_SECONDS", "10"))
        self._retry_seconds = float(os.environ.get("RETRY_SECONDS", "5"))
        self._told = ""
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until it is stopped, and connect anew when the broker is lost."""
        while not self._stopping.is_set():
            await self._serve_until_lost()

    async def stop(self) -> None:
        """Let run() come to its end."""
        self._stopping.set()

    async def _serve_until_lost(self) -> None:
        try:
            async with self._connection() as self._client:
                await self._serve()
        except aiomqtt.MqttError as error:
            LOG.warning("the broker is lost: %s", error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._retry_seconds)

    def _connection(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            os.environ.get("MQTT_HOST", "localhost"),
            int(os.environ.get("MQTT_PORT", "1883")),
            identifier="charger",
            will=aiomqtt.Will("charger/available", "no", qos=1, retain=True),
        )

    async def _serve(self) -> None:
        await self._client.subscribe("charger/set/+", qos=1)
        await self._publish("available", "yes", retain=True)
        self._told = ""  # a new broker knows nothing
        await self._tell_state()
        works = (self._obey_forever(), self._poll_forever(), self._stopping.wait())
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # an error, if the broker is lost
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.mode = "off"
        await self._adjust()
        await self._publish("available", "no", retain=True)

    async def _obey_forever(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            try:
                self._obey(message.topic.value, message.payload.decode())
            except ValueError as error:
                await self._publish("refused", str(error))
            else:
                await self._adjust()

    def _obey(self, topic: str, order: str) -> None:
        if topic == "charger/set/mode" and order in MODES:
            self.mode = order
        elif topic == "charger/set/limit" and LEAST <= int(order) <= MOST:
            self.limit = int(order)
        else:
            raise ValueError(f"{topic} cannot be {order!r}")

    async def _poll_forever(self) -> None:
        while not self._stopping.is_set():
            await self._poll()
            await asyncio.sleep(self._poll_seconds)

    async def _poll(self) -> None:
        """Read the meter, and charge as it allows; not at all while it does not answer."""
        self.polls += 1
        try:
            self._reading = await self._meter.read()
        except OSError as error:
            self._reading = Reading(0.0, car_is_plugged_in=False)
            await self._publish("alarm", f"no meter: {error}")
        await self._adjust()

    async def _adjust(self) -> None:
        self.amperes = self._allowed() if self._reading.car_is_plugged_in else 0
        await self._tell_state()

    def _allowed(self) -> int:
        if self.mode == "sun":
            amperes = min(int(self._reading.surplus_watts / VOLTS), self.limit)
            return amperes if amperes >= LEAST else 0
        return self.limit if self.mode == "full" else 0

    async def _tell_state(self) -> None:
        """Publish what has changed; nothing if nothing has."""
        state = {"mode": self.mode, "limit": self.limit, "amperes": self.amperes}
        text = json.dumps(state)
        if text != self._told:
            self._told = text
            await self._publish("state", text, retain=True)

    async def _publish(self, topic: str, text: str, *, retain: bool = False) -> None:
        await self._client.publish(f"charger/{topic}", text, qos=1, retain=retain)
