"""Waters the beds of a garden, one at a time: hears sensors and valves, and commands the valves.

Its phases are resting, opening, watering, closing and stuck. What ends a phase is a report of the
valve, an order, rain, or a timer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .forecast import rain_expected
from .link import GardenLink

ROUND = 60.0
HEARTBEAT = 30.0
VALVE_PATIENCE = 10.0
ATTEMPTS = 2


@dataclass
class GardenPlan:
    """What there is to water, for how many seconds each, and where the broker is."""

    site: str = "garden"
    seconds_by_bed: dict[str, float] = field(default_factory=dict)
    dry_below: float = 30.0
    host: str = "mosquitto.local"
    port: int = 1883


class IrrigationController:
    """Construct it and it runs; `terminate()` ends it."""

    def __init__(self, garden_plan: GardenPlan) -> None:
        self.plan = garden_plan
        self.phase = "resting"
        self.bed = ""
        self.waiting: list[str] = []
        self.moisture: dict[str, float] = {}
        self.is_raining = False
        self.timer: threading.Timer | None = None
        self._attempts = 0
        self._orders: dict[str, Callable[..., None]] = {
            "water": self._water,
            "stop": self._stop,
            "reset": self._reset,
        }
        self._mutex = threading.RLock()
        self.alive = threading.Event()
        self.alive.set()
        self.link = GardenLink(garden_plan.site)
        self.link.listeners = {
            "moisture/+": self._hear_moisture,
            "rain": self._hear_rain,
            "valve/+/report": self._hear_valve,
            "irrigation/order": self._hear_order,
        }
        # Habit: the constructor connects and starts a thread, and a timer that goes on for ever.
        self.link.dial(garden_plan.host, garden_plan.port)
        self._gardener = threading.Thread(target=self._go_round, name="gardener")
        self._gardener.start()
        self._beat()

    def terminate(self) -> None:
        self.alive.clear()
        with self._mutex:
            self._rewind(None)
            if self.bed:
                self._command("close")
        # Habit: it sleeps for the valve, and joins a thread that looks up once a minute.
        time.sleep(2)
        self._gardener.join(timeout=5)
        self._heart.cancel()
        self.link.hang_up()

    # In the background

    def _go_round(self) -> None:
        while self.alive.is_set():
            self._check_beds()
            time.sleep(ROUND)

    def _check_beds(self) -> list[str]:
        """Have the dry beds watered, unless the rain will do it; returns them."""
        if not self.alive.is_set() or self.is_raining or rain_expected(self.plan.site):
            return []
        with self._mutex:
            dry = [bed for bed, wet in self.moisture.items() if wet < self.plan.dry_below]
            for bed in dry:
                self._water(bed)
        return dry

    def _beat(self) -> None:
        self._tell_state()
        self._heart = threading.Timer(HEARTBEAT, self._beat)
        self._heart.start()

    # What it hears

    def _hear_moisture(self, topic: str, text: str) -> None:
        self.moisture[topic.rpartition("/")[2]] = float(text)
        self._tell_state()

    def _hear_rain(self, _topic: str, text: str) -> None:
        self.is_raining = text == "yes"
        if self.is_raining:
            self._stop()
        self._tell_state()

    def _hear_valve(self, topic: str, text: str) -> None:
        bed = topic.split("/")[1]
        with self._mutex:
            if bed != self.bed:
                return
            if (self.phase, text) == ("opening", "open"):
                self._enter("watering", self.plan.seconds_by_bed[bed])
            elif (self.phase, text) == ("closing", "closed"):
                self.bed = ""
                self._enter("resting")
                self._water_next()

    def _hear_order(self, _topic: str, text: str) -> None:
        try:
            order = json.loads(text)
            self._orders[order.pop("do")](**order)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.link.say("irrigation/alarm", f"order not understood: {error!r}")

    # What it does

    def _water(self, bed: str) -> None:
        if bed not in self.plan.seconds_by_bed:
            raise ValueError(f"there is no bed {bed}")
        with self._mutex:
            if bed != self.bed and bed not in self.waiting:
                self.waiting.append(bed)
            self._water_next()

    def _water_next(self) -> None:
        if self.phase == "resting" and self.waiting:
            self.bed = self.waiting.pop(0)
            self._begin("opening")

    def _stop(self) -> None:
        with self._mutex:
            self.waiting.clear()
            if self.phase in ("opening", "watering"):
                self._begin("closing")

    def _reset(self) -> None:
        with self._mutex:
            self.bed = ""
            self._enter("resting")
            self._water_next()

    def _time_is_up(self) -> None:
        """What the timer of a phase does: watering is over, or a valve has not answered."""
        with self._mutex:
            if not self.alive.is_set():
                return
            if self.phase == "watering":
                self._begin("closing")
            elif self.phase in ("opening", "closing") and self._attempts < ATTEMPTS:
                self._try(self.phase)
            elif self.phase in ("opening", "closing"):
                self.link.say("irrigation/alarm", f"the valve of {self.bed} is stuck")
                self._enter("stuck")

    def _begin(self, phase: str) -> None:
        self._attempts = 0
        self._try(phase)

    def _try(self, phase: str) -> None:
        self._attempts += 1
        self._command("open" if phase == "opening" else "close")
        self._enter(phase, VALVE_PATIENCE)

    def _command(self, what: str) -> None:
        self.link.say(f"valve/{self.bed}/command", what)

    def _enter(self, phase: str, seconds: float | None = None) -> None:
        self.phase = phase
        self._rewind(seconds)
        self._tell_state()

    def _rewind(self, seconds: float | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = threading.Timer(seconds, self._time_is_up) if seconds is not None else None
        if self.timer is not None:
            self.timer.start()

    def _tell_state(self) -> None:
        state = {"phase": self.phase, "bed": self.bed, "moisture": self.moisture}
        self.link.say("irrigation/state", state, retain=True)
