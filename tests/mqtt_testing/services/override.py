"""Puts a fast fixture in the place of a slow one."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_stack
from types import ModuleType
from typing import Any, Callable

import pytest

from ..summary import add_to_summary
from .fixture import made_to_replace

SWITCH = "CAMERA_DETECTOR_FIXTURE"
"""The environment variable that, as ``original``, leaves the fixtures of every service alone."""


@dataclass(eq=False)
class _Override:
    name: str
    fixture: Any
    folder: Path | None
    """That of the conftest.py that asked for it; None if none did: it counts everywhere."""
    by_import: bool
    """Whether a module asked as it was imported: it counts for others that import it, too."""
    replaced: dict[str, Any] = field(default_factory=dict)
    """The slow fixture of each test module in which it has taken effect."""
    refused_in: dict[str, str] = field(default_factory=dict)

    def nearness_to(self, module: pytest.Module) -> int:
        """Return how deep the folder is from which it counts for a module; -1 if it does not."""
        folders = [self.folder or Path()]
        if self.by_import:
            folders += [_folder_of(c) for c in _conftests_of(module) if _has(c, self.fixture)]
        parents = [Path(), *module.path.parents]
        return max((len(folder.parts) for folder in folders if folder in parents), default=-1)


_overrides: dict[tuple[str, Path | None], _Override] = {}


def override_fixture(name: str, fixture: Any) -> None:
    """Replace the fixture *name* by *fixture* wherever it is defined.

    That is in test modules, in classes, and in conftest.py files; a fixture in the conftest.py
    of the same name would not win over one in a test module. Call it at the top level of a
    conftest.py: ``override_fixture("thermostat", fast_thermostat)``. It counts for the tests in
    the folder of that conftest.py and below; of several, that of the nearest conftest.py wins.
    With ``CAMERA_DETECTOR_FIXTURE=original`` in the environment no fixture is replaced.

    Raises:
        TypeError: *fixture* is none.
    """
    if _fixture_name(fixture, "") is None:
        raise TypeError(
            f"override_fixture({name!r}, ...) takes a fixture, not {fixture!r}; "
            "make one with service_fixture(...) or @pytest.fixture"
        )
    callers = [Path(f.f_globals.get("__file__") or "") for f, _ in walk_stack(sys._getframe(1))]
    conftest = next((file for file in callers if file.name == "conftest.py"), None)
    folder = conftest and conftest.parent
    _overrides[name, folder] = _Override(name, fixture, folder, by_import=conftest != callers[0])


def _overrides_for(module: pytest.Module) -> list[_Override]:
    """Return the overrides that count for a test module: of each name the nearest."""
    if os.environ.get(SWITCH) == "original":
        return []
    near = [o for o in _overrides.values() if o.nearness_to(module) >= 0]
    near.sort(key=lambda override: override.nearness_to(module))  # of equals the last wins
    return list({override.name: override for override in near}.values())


def replaced_fixture(name: str, module: pytest.Module) -> Any:
    """Return the slow fixture *name* of a test module; None where no fast one has replaced it."""
    here = module.nodeid
    slow = (o.replaced[here] for o in _overrides.values() if o.name == name and here in o.replaced)
    return next(slow, None)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Replace the fixtures in a test module and its classes before pytest looks for them."""
    if not _overrides:
        return
    if isinstance(collector, pytest.Module):
        _override_in_module(collector)
    elif isinstance(collector, pytest.Class):
        _override_in_class(collector)


def _override_in_module(collector: pytest.Module) -> None:
    try:
        module = collector.obj
    except (Exception, pytest.skip.Exception, pytest.fail.Exception):  # noqa: BLE001
        return  # pytest imports it again when it collects it, and reports the same
    conftests = _conftests_of(collector)
    for override in _overrides_for(collector):
        slow = _find_slow_fixture(module, override, conftests)
        if slow is None:
            continue
        reason = _reason_to_refuse(slow, override, [module, *_classes_in(module), *conftests])
        if reason:
            override.refused_in[collector.nodeid] = reason
        else:
            for attribute in _fixtures_in(module, override.name):
                delattr(module, attribute)
            fast = made_to_replace(function_of(slow), override.fixture)
            setattr(module, override.name, fast)
            override.replaced.setdefault(collector.nodeid, slow)  # hooks may be called twice


def _override_in_class(collector: pytest.Class) -> None:
    """Have a class get its fixtures from its module, where that has the fast ones.

    Modules may share the class or its bases, and one of them may not be overridden.
    """
    module = collector.getparent(pytest.Module)
    if module is None:
        return
    for cls in collector.obj.__mro__[:-1]:
        for attribute, fixture in _taken_from.pop(cls, {}).items():
            setattr(cls, attribute, fixture)
        for override in _overrides_for(module):
            if module.nodeid in override.replaced:
                _take_from(cls, override.name)


_taken_from: dict[type, dict[str, Any]] = {}
"""The fixtures that classes do not have at the moment."""


def _take_from(cls: type, name: str) -> None:
    for attribute, fixture in _fixtures_in(cls, name).items():
        _taken_from.setdefault(cls, {})[attribute] = fixture
        delattr(cls, attribute)


def _find_slow_fixture(module: ModuleType, override: _Override, conftests: list[ModuleType]) -> Any:
    for owner in (module, *_classes_in(module), *conftests):
        for slow in _fixtures_in(owner, override.name).values():
            if slow is not override.fixture:
                return None if _extends_the_fast_one(slow, override, conftests) else slow
    return None


def _extends_the_fast_one(slow: Any, override: _Override, conftests: list[ModuleType]) -> bool:
    names = {
        attribute
        for conftest in conftests
        for attribute, value in vars(conftest).items()
        if value is override.fixture
    }
    return bool(names & set(_parameters_of(slow)))


def _classes_in(module: ModuleType) -> list[type]:
    """Return the classes of a module, and their bases."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return [base for cls in classes for base in cls.__mro__[:-1]]


def _reason_to_refuse(slow: Any, override: _Override, owners: Sequence[Any]) -> str | None:
    marker, fast_marker = _marker_of(slow), _marker_of(override.fixture)
    if override.name in _parameters_of(slow):
        return "it extends another fixture of its name, which stays slow. Extend the fast one"
    if _is_parametrized(slow) and not _is_parametrized(override.fixture):
        return (
            "it is parametrized, and its variants would be lost. Override it with a fixture that "
            "has its params and asks for the fast one"
        )
    if marker.autouse and not fast_marker.autouse:
        return "it is autouse, which the fast one is not: tests would go without it"
    if _reads_of_request(slow, "cls"):
        return (
            "it gives the class something (request.cls), which the fast one does not. Do that in "
            "an autouse fixture of its own, which asks for this one"
        )
    wider = _wider_fixture_that_uses(override.name, owners)
    if wider and fast_marker.scope == "function":
        return f"the fixture {wider} uses it, and {_ONE_TEST_ONLY.format(override.name, wider)}"
    return None


_ONE_TEST_ONLY = (
    "the fast {0} is one test's own, where {1} serves several. Make {1} function-scoped, or have "
    "it do without {0}"
)


def _is_parametrized(fixture: Any) -> bool:
    return bool(_marker_of(fixture).params) or _reads_of_request(fixture, "param")


def _reads_of_request(fixture: Any, attribute: str) -> bool:
    code = getattr(inspect.unwrap(function_of(fixture)), "__code__", None)
    return "request" in _parameters_of(fixture) and attribute in getattr(code, "co_names", ())


def _wider_fixture_that_uses(name: str, owners: Sequence[Any]) -> str | None:
    for owner in owners:
        for attribute, value in vars(owner).items():
            marker = _marker_of(value)
            if marker is not None and marker.scope != "function" and name in _parameters_of(value):
                return str(marker.name or attribute)
    return None


def _fixtures_in(owner: Any, name: str) -> dict[str, Any]:
    """Return the fixtures *name* of a module or class, also those that are taken from it now."""
    there = {**vars(owner), **(_taken_from.get(owner, {}) if isinstance(owner, type) else {})}
    return {
        attribute: value
        for attribute, value in there.items()
        if _fixture_name(value, attribute) == name
    }


def _fixture_name(value: Any, attribute: str) -> str | None:
    """Return the name of the fixture that *value* is; None where it is none."""
    marker = _marker_of(value)
    return None if marker is None else marker.name or attribute


def _marker_of(value: Any) -> Any:
    """Return the options of the fixture that *value* is; None where it is none."""
    for marker_of in ("_fixture_function_marker", "_pytestfixturefunction"):  # since 8.4, before
        # Not getattr: proxies such as flask.request raise whatever they like.
        marker = inspect.getattr_static(value, marker_of, None)
        if type(marker).__name__ == "FixtureFunctionMarker":
            return marker
    return None


def function_of(fixture: Any) -> Callable[..., Any]:
    """Return the function that a fixture was made of (since pytest 8.4, and before)."""
    function = getattr(fixture, "_fixture_function", None) or fixture.__pytest_wrapped__.obj
    if isinstance(function, (classmethod, staticmethod)):
        return function.__get__(None, object)
    return function  # type: ignore[no-any-return]


def _parameters_of(fixture: Any) -> list[str]:
    return list(inspect.signature(function_of(fixture)).parameters)


def _conftests_of(collector: pytest.Module) -> list[ModuleType]:
    """Return the conftest.py modules whose fixtures a test module sees."""
    return [
        plugin
        for plugin in collector.config.pluginmanager.get_plugins()
        if isinstance(plugin, ModuleType)
        and Path(plugin.__file__ or "").name == "conftest.py"
        and _folder_of(plugin) in collector.path.parents
    ]


def _folder_of(conftest: ModuleType) -> Path:
    return Path(conftest.__file__ or "").parent


def _has(conftest: ModuleType, fixture: Any) -> bool:
    """Say whether a conftest.py has imported a fixture, or the module that it is in."""
    values = list(vars(conftest).values())
    modules = [value for value in values if isinstance(value, ModuleType)]
    values += [value for module in modules for value in vars(module).values()]
    return any(value is fixture for value in values)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Say what to do where a wider fixture has asked for a fast one, unseen by the override."""
    outcome: Any = yield
    report = outcome.get_result()
    for override in _overrides.values() if report.failed else ():
        if f"access the function scoped fixture {override.name} with" in report.longreprtext:
            remedy = _ONE_TEST_ONLY.format(override.name, "the fixture that asks for it")
            report.sections.append(("what to do", remedy))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say so where an override was asked for, tests use the fixture, and nothing took."""
    for override in _overrides.values():
        lines = [
            f"{override.name} in {module} was left as it is: {reason}"
            for module, reason in override.refused_in.items()
        ]
        if not lines and not override.replaced and _is_used(override, session):
            lines.append(
                f"{override.name}: nothing was overridden. The tests get the fixture from a "
                "plugin, or the module was imported before conftest.py asked for the override; "
                "call override_fixture() at the top level of the topmost conftest.py."
            )
        for line in lines:
            add_to_summary("fixture overrides", line)


def _is_used(override: _Override, session: pytest.Session) -> bool:
    modules = {
        item.getparent(pytest.Module)
        for item in getattr(session, "items", ())
        if override.name in getattr(item, "fixturenames", ())
    }
    return any(override in _overrides_for(module) for module in modules if module)
