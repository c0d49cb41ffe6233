"""Which conftest.py files count for a test, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def conftests_of(item: pytest.Item) -> list[ModuleType]:
    """Return the conftest.py modules whose fixtures a test sees."""
    return [
        plugin
        for plugin in item.config.pluginmanager.get_plugins()
        if isinstance(plugin, ModuleType)
        and Path(getattr(plugin, "__file__", None) or "").name == "conftest.py"
        and folder_of(plugin) in item.path.parents
    ]


def folder_of(conftest: ModuleType) -> Path:
    """Return the folder that a conftest.py is in."""
    return Path(conftest.__file__ or "").parent


def has(conftest: ModuleType, fixture: Any) -> bool:
    """Return whether a conftest.py has imported a fixture, or the module that it is in."""
    values = list(vars(conftest).values())
    modules = [value for value in values if isinstance(value, ModuleType)]
    values += [value for module in modules for value in vars(module).values()]
    return any(value is fixture for value in values)


def names_of(fixture: Any, item: pytest.Item) -> Iterator[str]:
    """Yield the names by which the conftest.py files of a test know a fixture."""
    for conftest in conftests_of(item):
        yield from (name for name, value in vars(conftest).items() if value is fixture)


def covers(config: pytest.Config, folder: Path | None) -> bool:
    """Return whether the run is of a whole folder, not of some of its tests."""
    inside = (folder or config.rootpath).resolve()
    asked_for = ((config.invocation_params.dir / path).resolve() for path in config.args)
    return any(path in (inside, *inside.parents) for path in asked_for)
