"""A pytest plugin that writes down what the phases of the tests take, by the tests' functions."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

FILE = "phases.json"

SecondsOfPhases = dict[str, list[float]]


class Phases:
    """Notes the seconds of each phase, in 8 bytes each so as not to be what grows."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._seconds: dict[str, dict[str, array[float]]] = {}
        self.figures: dict[str, Any] = {}
        """What else is to be written down."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Let the tests take turns, so that a noisy moment hits all alike."""
        items.sort(key=lambda item: item.callspec.params["turn"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase."""
        function = report.location[2].partition("[")[0]
        phases = self._seconds.setdefault(function, {})
        phases.setdefault(report.when or "", array("d")).append(report.duration)

    def pytest_sessionfinish(self) -> None:
        """Hand over what was noted."""
        seconds = {f: {p: list(s) for p, s in ps.items()} for f, ps in self._seconds.items()}
        self._file.write_text(json.dumps({**self.figures, "seconds": seconds}))


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note; pytest-xdist's workers report to what started them."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Phases(config.rootpath))


def overheads(phases: SecondsOfPhases) -> list[float]:
    """Return the set-up plus tear-down of each test of a function."""
    return [setup + teardown for setup, teardown in zip(phases["setup"], phases["teardown"])]
