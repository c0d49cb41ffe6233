"""Finds the class of a service that tests mean."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from .override import replaced_fixture


def class_fixture(class_name: str, *, modules: Sequence[str], overridden: str) -> Any:
    """Make a fixture that gives the class *class_name* as the test module sees it.

    A service that is importable under two names exists twice, and what the tests patch is the
    class that they import: that one is meant. Next comes what the slow fixture saw, then what
    has been imported anywhere, then the usual modules.

    Usage: ``thermostat_class = class_fixture("Thermostat", modules=["heating"],
    overridden="thermostat")``, and ``service_fixture("thermostat_class")``.

    Args:
        class_name: the name of the class.
        modules: where it usually is; they are imported if nothing else has imported it.
        overridden: the fixture that is overridden, whose functions may see the class.
    """

    @pytest.fixture
    def service_class(request: pytest.FixtureRequest) -> type:
        """The class under test, as the test module sees it; override it where it is not found."""
        slow = replaced_fixture(overridden, request.node)
        seen_by_slow = getattr(inspect.unwrap(slow), "__globals__", {}) if slow else {}
        lookup = _Lookup(class_name, request.fixturename or "")
        found = (
            lookup.seen_in(vars(request.module))
            or lookup.seen_in(seen_by_slow)
            or lookup.only_one_in(list(sys.modules.values()))
            or lookup.only_one_in(_import_if_there(name) for name in modules)
        )
        if found is None:
            pytest.fail(_NOT_FOUND.format(class_name, request.fixturename), pytrace=False)
        return found

    return service_class


_NOT_FOUND = """\
No class {0} was found: the test module does not import it, and neither does anything else. Say \
where it is, in conftest.py:

    @pytest.fixture
    def {1}():
        from your_package.your_module import {0}
        return {0}"""


class _Lookup:
    def __init__(self, class_name: str, fixture_name: str) -> None:
        self._class_name = class_name
        self._fixture_name = fixture_name

    def seen_in(self, namespace: Mapping[str, Any]) -> type | None:
        """Return the class that a module has imported, by itself or with the module it is in."""
        return self._of(namespace) or self.only_one_in(namespace.values())

    def only_one_in(self, candidates: Iterable[Any]) -> type | None:
        """Return the class in those candidates that are modules; fail if there are several."""
        name = self._class_name
        # Proxies such as flask.request pass for what they stand for.
        modules = (value for value in candidates if issubclass(type(value), ModuleType))
        seeing = [names for module in modules if name in (names := vars(module))]
        classes = list(dict.fromkeys(filter(None, map(self._of, seeing))))
        if len(classes) > 1:
            places = ", ".join(f"{c.__module__}.{c.__qualname__}" for c in classes)
            pytest.fail(
                f"There are several classes {name}: {places}. Import the one that is "
                f"meant in the test module, or override the fixture {self._fixture_name} to "
                "return it.",
                pytrace=False,
            )
        return classes[0] if classes else None

    def _of(self, namespace: Mapping[str, Any]) -> type | None:
        value = namespace.get(self._class_name)
        return value if isinstance(value, type) else None


def _import_if_there(name: str) -> ModuleType | None:
    parent = name.rpartition(".")[0]
    if parent and importlib.util.find_spec(parent) is None:
        return None
    return importlib.import_module(name) if importlib.util.find_spec(name) else None
