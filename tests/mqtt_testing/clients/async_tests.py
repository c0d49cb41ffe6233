"""What only runs with async tests need, so that others do not pay for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import pytest


def is_async(item: Any) -> bool:
    """Return whether a test is an ``async def``."""
    function: Any = inspect.unwrap(getattr(item, "obj", lambda: None))
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(function)


def register_where_async(
    plugin: object, config: pytest.Config, items: Iterable[pytest.Item]
) -> None:
    """Register *plugin*, which takes its time with each fixture, if there are async tests."""
    manager = config.pluginmanager
    if not manager.is_registered(plugin) and any(map(is_async, items)):
        manager.register(plugin)
