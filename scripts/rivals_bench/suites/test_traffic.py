"""The tests that are timed: one of each kind, and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.parametrize(
    "turn", range(json.loads(Path("settings.json").read_text())["tests"] // 5)
)


def make_a_round_trip(bus: Any, qos: int) -> None:
    bus.publish("a/topic", f"{qos}", qos)
    assert bus.wait_for("a/topic") == f"{qos}".encode()


def test_qos_0(bus: Any, turn: int) -> None:
    make_a_round_trip(bus, 0)


def test_qos_1(bus: Any, turn: int) -> None:
    make_a_round_trip(bus, 1)


def test_qos_2(bus: Any, turn: int) -> None:
    make_a_round_trip(bus, 2)


def test_nothing(bus: Any, turn: int) -> None:
    bus.assert_none("an/alarm")


def test_service(bus: Any, service: Any, run_round: Callable[[Any], None], turn: int) -> None:
    run_round(service)
    assert bus.wait_for("service/state") == b"on"
