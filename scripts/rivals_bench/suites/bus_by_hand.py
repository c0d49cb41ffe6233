"""The names that the tests have for what a user has written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def bus(mqtt_bus: Any) -> Any:
    """What publishes and waits."""
    return mqtt_bus


@pytest.fixture
def address(broker: tuple[str, int]) -> tuple[str, int]:
    """Where the broker listens."""
    return broker


@pytest.fixture
def run_round() -> Callable[[Any], None]:
    """Nothing: the thread of a service has begun by itself."""
    return lambda _service: None
