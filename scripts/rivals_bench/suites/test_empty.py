"""Tests without a fixture, as many as the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize("turn", range(json.loads(Path("settings.json").read_text())["tests"]))
def test_empty(turn: int) -> None:
    pass
