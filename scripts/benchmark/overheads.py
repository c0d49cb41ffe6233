"""A pytest plugin that writes down what the fixtures of each test cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


class Overheads:
    """Writes down the set-up plus tear-down of each test, by its function."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, list[float]] = {}
        self._set_up = 0.0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Let the tests take turns, so that a noisy moment hits all alike."""
        items.sort(key=lambda item: item.callspec.params["turn"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a phase took."""
        if report.when == "setup":
            self._set_up = report.duration
        elif report.when == "teardown":
            name = report.location[2].partition("[")[0]
            self._seconds.setdefault(name, []).append(self._set_up + report.duration)

    def pytest_sessionfinish(self) -> None:
        """Hand over what was noted."""
        self._file.write_text(json.dumps(self._seconds))


def pytest_configure(config: pytest.Config) -> None:
    """Begin to time the tests; pytest-xdist's workers report theirs to what started them."""
    if hasattr(config, "workerinput"):
        return
    config.pluginmanager.register(Overheads(config.rootpath / "overheads.json"))
