"""Puts a fast fixture in front of a slow one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_stack
from typing import Any, Callable

import pytest

from ..originals import variable
from ..pytest_internals import (
    define,
    definition_to_replace,
    definitions_of,
    has_fixtures,
    marker_of,
    put_in_front,
    renew_request,
    replaced_in,
)
from ..summary import add_to_summary
from .conftests import conftests_of, covers, folder_of, has
from .refusals import added_parameters, is_made_of, reason_to_refuse
from .wiring import useless_lines

SWITCH = "CAMERA_DETECTOR_FIXTURE"
"""The environment variable that, as ``original``, leaves the fixtures of every service alone."""


class Override:
    """What was asked for, and what has become of it in this run.

    Args:
        folder: that of the conftest.py that asked for it; None if none did: it counts everywhere.
        by_import: whether a module asked as it was imported: it counts for others that import it,
            too.
    """

    def __init__(self, name: str, fixture: Any, folder: Path | None, *, by_import: bool) -> None:
        self.name = name
        self.fixture = fixture
        self.folder = folder
        self.by_import = by_import
        self.definitions: dict[tuple[str, ...], Any] = {}
        """The fast definitions, by the parameters that they have of the slow ones."""
        self.refused: dict[str, str] = {}
        """The reason, by the file of the slow fixture."""
        self.is_met = False
        """Whether a test sees a fixture of its name."""

    def nearness_to(self, item: pytest.Item) -> int:
        """Return how deep the folder is from which it counts for a test; -1 if it does not."""
        folders = [self.folder or Path()]
        if self.by_import:
            folders += [folder_of(c) for c in conftests_of(item) if has(c, self.fixture)]
        parents = [Path(), *item.path.parents]
        return max((len(folder.parts) for folder in folders if folder in parents), default=-1)

    def take_effect_in(self, item: pytest.Item) -> bool:
        """Put the fast definition in front of the slow one; return whether that was done."""
        slow = definition_to_replace(self.name, item)
        if slow is None or is_made_of(self.name, item, self.fixture):
            return False
        reason = reason_to_refuse(slow, self.name, self.fixture, item)
        if reason:
            self.refused[_file_of(slow, item)] = reason
            return False
        put_in_front(self.name, self._definition_for(slow, item), item)
        return True

    def _definition_for(self, slow: Any, item: pytest.Item) -> Any:
        also = added_parameters(slow, self.fixture)
        if also not in self.definitions:
            made = define(item.session, self.name, self.fixture, also)
            self.definitions[also] = made
        return self.definitions[also]

    def outcome(self, session: pytest.Session) -> Iterator[str]:
        """Say where it was asked for and did not happen, and why."""
        for file, reason in self.refused.items():
            yield f"{self.name} in {file} was left as it is: {reason}"
        if not self.is_met and covers(session.config, self.folder):
            items = [i for i in getattr(session, "items", ()) if self in overrides_for(i)]
            is_late = any(definitions_of(self.name, item) for item in items)
            if items:
                yield f"{self.name}: nothing was overridden. {_TOO_LATE if is_late else _UNKNOWN}"


_TOO_LATE = (
    "The override was asked for when the tests had been collected: call override_fixture() at the "
    "top level of the topmost conftest.py."
)
_UNKNOWN = (
    "None of the tests that were collected sees a fixture of that name: is it spelled as in the "
    "tests?"
)

_overrides: dict[tuple[str, Path | None], Override] = {}

_near: dict[Path, list[Override]] = {}
"""The overrides that count for the tests of a file."""


def override_fixture(name: str, fixture: Any) -> None:
    """Replace the fixture *name* by *fixture* wherever it is defined.

    That is in test modules, in classes, in conftest.py files and in plugins; a fixture in the
    conftest.py of the same name would not win over one in a test module. Call it at the top
    level of a conftest.py: ``override_fixture("thermostat", fast_thermostat)``. It counts for the
    tests in the folder of that conftest.py and below; of several, that of the nearest conftest.py
    wins. With ``CAMERA_DETECTOR_FIXTURE=original`` in the environment no fixture is replaced.

    Raises:
        TypeError: *fixture* is none.
    """
    if marker_of(fixture) is None:
        raise TypeError(
            f"override_fixture({name!r}, ...) takes a fixture, not {fixture!r}; "
            "make one with service_fixture(...) or @pytest.fixture"
        )
    frames = [frame for frame, _ in walk_stack(inspect.currentframe())][1:]
    callers = [Path(frame.f_globals.get("__file__") or "") for frame in frames]
    conftest = next((file for file in callers if file.name == "conftest.py"), None)
    folder = conftest and conftest.parent
    _overrides[name, folder] = Override(name, fixture, folder, by_import=conftest != callers[0])
    _near.clear()


def overrides_for(item: pytest.Item) -> list[Override]:
    """Return the overrides that count for a test: of each name the nearest."""
    if item.path not in _near:
        asked_for = _overrides.values() if variable(SWITCH) != "original" else ()
        near = [o for o in asked_for if o.nearness_to(item) >= 0]
        near.sort(key=lambda override: override.nearness_to(item))  # of equals the last wins
        _near[item.path] = list({override.name: override for override in near}.values())
    return _near[item.path]


def replaced_fixture(name: str, item: pytest.Item) -> Callable[..., Any] | None:
    """Return the function of the slow fixture that a test would get; None if it gets it."""
    for override in overrides_for(item):
        for definition in override.definitions.values() if override.name == name else ():
            slow = replaced_in(name, definition, item)
            if slow is not None:
                return slow.func  # type: ignore[no-any-return]
    return None


def _file_of(definition: Any, item: pytest.Item) -> str:
    code = getattr(inspect.unwrap(definition.func), "__code__", None)
    file, root = Path(code.co_filename if code else "a plugin"), item.config.rootpath
    return (file.relative_to(root) if root in file.parents else file).as_posix()


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Forget what has become of the overrides in another run of this process."""
    if isinstance(collector, pytest.Session):
        _near.clear()
        for key, old in _overrides.items():
            _overrides[key] = Override(old.name, old.fixture, old.folder, by_import=old.by_import)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Override what a test function needs before it is parametrized."""
    _override_in(metafunc.definition, dynamic=False)


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Override what the methods of a unittest.TestCase need: those are not parametrized."""
    _override_in(item, dynamic=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Override what a test may ask for as it runs: `request.getfixturevalue("thermostat")`."""
    _override_in(item, dynamic=True)


def _override_in(item: pytest.Item, *, dynamic: bool) -> None:
    if not has_fixtures(item):
        return
    for override in overrides_for(item):
        is_needed = override.name in getattr(item, "fixturenames", ())
        is_in_time = not dynamic and definitions_of(override.name, item)
        override.is_met = override.is_met or bool(is_in_time)
        if is_needed is not dynamic and override.take_effect_in(item):
            renew_request(item)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell what was not overridden, and which lines of a conftest.py do nothing."""
    if variable(SWITCH) == "original":
        return
    for override in _overrides.values():
        lines = [*override.outcome(session), *useless_lines(override.name, override.fixture)]
        for line in lines:
            add_to_summary("fixture overrides", line)
