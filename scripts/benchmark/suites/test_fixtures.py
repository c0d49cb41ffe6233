"""Tests that only ask for a fixture, many times each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROUNDS = json.loads(Path("settings.json").read_text())["rounds"]

pytestmark = pytest.mark.parametrize("turn", range(ROUNDS))


def test_nothing(turn: int) -> None:
    pass


def test_bare_client(bare_client: object, turn: int) -> None:
    pass


def test_loan(mqtt_client: object, turn: int) -> None:
    pass


def test_service(camera_detector_fast: object, turn: int) -> None:
    pass


def test_discovery(camera_detector_fast: Any, turn: int) -> None:
    camera_detector_fast.test_run_discovery_once()
