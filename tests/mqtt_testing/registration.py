"""Makes plugins of the kit's rooms, for the pytest that is importing a door."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from traceback import walk_stack
from types import FrameType, ModuleType

import pytest

from .pytest_internals import check_pytest


def register(*packages: str, modules: Iterable[ModuleType] = ()) -> None:
    """Register ``plugin.py`` of each of the kit's *packages*, and *modules* that lie beside it.

    So a conftest.py need not list the fixtures that its fixtures depend on, and a hook of the
    same name in the conftest.py does not replace ours. It is what ``pytest_plugins`` does,
    which pytest allows in the topmost conftest.py only. Outside of pytest it does nothing.

    Usage: ``register("broker", "clients")``.

    Raises:
        ImportError: the kit is imported under two names, so its fixtures would exist twice, or
            pytest lacks something that the kit needs.
    """
    importing = _importing_frame()
    if importing is None:
        return
    check_pytest()
    rooms = ("summary", *(f"{package}.plugin" for package in packages))
    for module in (*(import_module(f"{__package__}.{room}") for room in rooms), *modules):
        # What `-p` and `pytest_plugins` name, pytest registers itself, once it is imported.
        if importing.f_locals.get("modname") != module.__name__:
            _register_once(importing.f_locals["self"], module)


def _register_once(manager: pytest.PytestPluginManager, module: ModuleType) -> None:
    for name, plugin in manager.list_name_plugin():
        if getattr(plugin, "__file__", None) == module.__file__ and plugin is not module:
            raise ImportError(
                f"{module.__file__} is imported under two names, {name} and {module.__name__}: "
                "its fixtures would exist twice. Import it in the same way everywhere."
            )
    if not manager.is_registered(module):
        manager.register(module, module.__name__)


def _importing_frame() -> FrameType | None:
    """Return the frame of the plugin manager whose import this is: pytest has no public way."""
    for frame, _ in walk_stack(None):
        if isinstance(frame.f_locals.get("self"), pytest.PytestPluginManager):
            return frame
    return None
