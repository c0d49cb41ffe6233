"""The irrigation service on a real broker, with the slow fixtures that were written for it.

None of those is used: `fast_irrigation` takes their place in the module and in its classes.
"""

from __future__ import annotations

import json
import subprocess
import time
import unittest
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from helpers.irrigation import controller
from helpers.irrigation.controller import GardenPlan, IrrigationController

STATE = "garden/irrigation/state"
ALARM = "garden/irrigation/alarm"
AVAILABLE = "garden/irrigation/available"
BEANS = "garden/valve/beans/command"


@pytest.fixture
def garden_plan() -> GardenPlan:
    return GardenPlan(seconds_by_bed={"roses": 600, "beans": 900})


@pytest.fixture
def forecast(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    weather = {"rain": False}
    monkeypatch.setattr(controller, "rain_expected", lambda _site: weather["rain"])
    return weather


# --- What was written by hand, and is not used ------------------------------------------------


def slow_irrigation(plan: GardenPlan, port: int) -> Iterator[IrrigationController]:
    broker = subprocess.Popen(["mosquitto", "-p", str(port)])
    time.sleep(2)  # until the broker is there
    plan.host, plan.port = "127.0.0.1", port
    with mock.patch.object(controller, "rain_expected", return_value=False):
        service = IrrigationController(plan)
        time.sleep(1)  # until the subscriptions are there
        yield service
        service.terminate()
    broker.terminate()
    broker.wait()


@pytest.fixture
def irrigation(garden_plan: GardenPlan) -> Iterator[IrrigationController]:
    yield from slow_irrigation(garden_plan, 18831)


# --- The tests --------------------------------------------------------------------------------


class Garden:
    """What is around the service: sensors, valves, and a gardener who gives orders."""

    def __init__(self, client: Any, monitor: Any) -> None:
        self._client = client
        self._monitor = monitor

    def says(self, topic: str, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self._client.publish(f"garden/{topic}", text, qos=1)

    def orders(self, **order: str) -> None:
        self.says("irrigation/order", order)

    def reports(self, bed: str, what: str) -> None:
        self.says(f"valve/{bed}/report", what)

    def awaits(self, phase: str, bed: str = "") -> None:
        self._monitor.wait_for(
            STATE, where=lambda m: (m.json()["phase"], m.json()["bed"]) == (phase, bed)
        )

    def is_measured(self, **moisture: float) -> None:
        for bed, value in moisture.items():
            self.says(f"moisture/{bed}", value)
        self._monitor.wait_for(STATE, where=lambda m: m.json()["moisture"] == moisture)

    def has_commanded(self, bed: str, *commands: str) -> bool:
        messages = self._monitor.wait_for(f"garden/valve/{bed}/command", count=len(commands))
        return tuple(message.payload.decode() for message in messages) == commands


@pytest.fixture
def garden(mqtt_client: Any, mqtt_monitor: Any) -> Garden:
    return Garden(mqtt_client, mqtt_monitor)


def test_it_is_up_and_at_rest(mqtt_monitor, irrigation):
    assert [m.payload for m in mqtt_monitor.wait_for(AVAILABLE)] == [b"yes"]
    [state] = mqtt_monitor.wait_for(STATE)
    assert state.retain
    assert state.json() == {"phase": "resting", "bed": "", "moisture": {}}
    mqtt_monitor.assert_none("garden/valve/#")


def test_nothing_runs_in_the_background(irrigation):
    assert not irrigation._gardener.is_alive()
    assert not irrigation._heart.is_alive()


def test_a_bed_is_watered_from_order_to_rest(irrigation, garden, mqtt_monitor):
    garden.orders(do="water", bed="roses")
    garden.awaits("opening", "roses")
    garden.reports("roses", "open")
    garden.awaits("watering", "roses")
    assert irrigation.timer.interval == 600
    irrigation.run_timer_once()
    garden.awaits("closing", "roses")
    mqtt_monitor.clear()
    garden.reports("roses", "closed")
    garden.awaits("resting")
    assert irrigation.timer is None


def test_the_valve_is_told_once_each(irrigation, garden):
    garden.orders(do="water", bed="roses")
    garden.awaits("opening", "roses")
    garden.reports("roses", "open")
    garden.awaits("watering", "roses")
    irrigation.run_timer_once()
    garden.awaits("closing", "roses")
    assert garden.has_commanded("roses", "open", "close")


def test_beds_wait_for_each_other(irrigation, garden, mqtt_monitor):
    garden.orders(do="water", bed="roses")
    garden.orders(do="water", bed="beans")
    garden.orders(do="stop-it")  # what comes after it has been heard, too
    mqtt_monitor.wait_for(ALARM)
    mqtt_monitor.assert_none(BEANS)
    garden.reports("roses", "open")
    garden.awaits("watering", "roses")
    irrigation.run_timer_once()
    garden.reports("roses", "closed")
    garden.awaits("opening", "beans")
    assert garden.has_commanded("beans", "open")


def test_a_valve_that_does_not_answer_is_told_again_and_then_given_up(
    irrigation, garden, mqtt_monitor
):
    garden.orders(do="water", bed="beans")
    garden.awaits("opening", "beans")
    irrigation.run_timer_once()
    mqtt_monitor.assert_none(ALARM)
    irrigation.run_timer_once()
    garden.awaits("stuck", "beans")
    assert garden.has_commanded("beans", "open", "open")
    [alarm] = mqtt_monitor.wait_for(ALARM)
    assert alarm.payload == b"the valve of beans is stuck"


def test_after_a_reset_the_next_bed_is_watered(irrigation, garden):
    garden.orders(do="water", bed="beans")
    garden.orders(do="water", bed="roses")
    garden.awaits("opening", "beans")
    irrigation.run_timer_once()
    irrigation.run_timer_once()
    garden.awaits("stuck", "beans")
    garden.orders(do="reset")
    garden.awaits("opening", "roses")


@pytest.mark.parametrize(
    "order", ["water the roses", "[]", '{"bed": "roses"}', '{"do": "water", "bed": "lawn"}']
)
def test_an_order_that_makes_no_sense_is_told(irrigation, garden, mqtt_monitor, order):
    garden.says("irrigation/order", order)
    [alarm] = mqtt_monitor.wait_for(ALARM)
    assert alarm.payload.startswith(b"order not understood")
    garden.orders(do="water", bed="roses")
    garden.awaits("opening", "roses")


def test_the_gardener_goes_round_when_the_background_is_enabled(irrigation, garden):
    garden.is_measured(roses=10)
    irrigation.test_enable_background_tasks()
    garden.awaits("opening", "roses")
    irrigation.test_disable_background_tasks()
    assert not irrigation._gardener.is_alive()


def test_it_says_goodbye(irrigation, garden, mqtt_monitor, monkeypatch):
    garden.orders(do="water", bed="roses")
    garden.awaits("opening", "roses")
    with monkeypatch.context() as patch:
        patch.setattr(controller.time, "sleep", lambda _seconds: None)
        irrigation.terminate()
    assert garden.has_commanded("roses", "open", "close")
    assert [m.payload for m in mqtt_monitor.wait_for(AVAILABLE, count=2)] == [b"yes", b"no"]


def test_nothing_of_it_is_left_to_the_next_test(mqtt_monitor, irrigation):
    """Neither what was retained nor its persistent session, which would have had messages."""
    assert irrigation.moisture == {}
    assert irrigation.bed == ""
    assert len(mqtt_monitor.wait_for(STATE)) == 1


class TestDryBeds:
    @pytest.fixture(scope="class")
    def irrigation(self) -> Iterator[IrrigationController]:
        yield from slow_irrigation(GardenPlan(seconds_by_bed={"roses": 600, "beans": 900}), 18832)

    def test_they_are_watered(self, irrigation, garden):
        garden.is_measured(roses=29.9, beans=12)
        assert irrigation.run_round_once() == ["roses", "beans"]
        assert garden.has_commanded("roses", "open")
        assert irrigation.waiting == ["beans"]

    def test_wet_ones_are_not(self, irrigation, garden, mqtt_monitor):
        garden.is_measured(roses=30, beans=80)
        assert irrigation.run_round_once() == []
        mqtt_monitor.assert_none("garden/valve/#")

    def test_if_rain_is_expected_they_wait_for_it(self, irrigation, garden, forecast, mqtt_monitor):
        forecast["rain"] = True
        garden.is_measured(roses=5)
        assert irrigation.run_round_once() == []
        mqtt_monitor.assert_none("garden/valve/#")


class TestRain(unittest.TestCase):
    @pytest.fixture(name="irrigation")
    def slow(self) -> Iterator[IrrigationController]:
        yield from slow_irrigation(GardenPlan(seconds_by_bed={"roses": 600, "beans": 900}), 18833)

    @pytest.fixture(autouse=True)
    def _given(self, irrigation, garden, mqtt_monitor):
        self.irrigation, self.garden, self.monitor = irrigation, garden, mqtt_monitor

    def test_it_ends_the_watering_of_all_beds(self):
        self.garden.orders(do="water", bed="roses")
        self.garden.orders(do="water", bed="beans")
        self.garden.awaits("opening", "roses")
        self.garden.says("rain", "yes")
        self.garden.awaits("closing", "roses")
        self.garden.reports("roses", "closed")
        self.garden.awaits("resting")
        self.monitor.assert_none(BEANS)

    def test_while_it_rains_no_bed_is_dry(self):
        self.garden.says("rain", "yes")
        self.garden.is_measured(roses=5)
        assert self.irrigation.run_round_once() == []
        self.garden.says("rain", "no")
        self.garden.is_measured(beans=90, roses=5)
        assert self.irrigation.run_round_once() == ["roses"]
