"""A test in the midst of which pytest is killed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any


def test_killed(bus: Any) -> None:
    bus.assert_none("an/alarm")
    Path("running").touch()
    signal.pause()
