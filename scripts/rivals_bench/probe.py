"""A pytest plugin that writes down what the tests take, in time and in memory."""

from __future__ import annotations

import json
import os
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import memory_of, processes_with

MARK = "MQTT_RIVALS"
"""The variable that all processes of a run have in their environment."""

FILE = "probe.json"

WARM = 50
"""Tests after which a process has taken what it takes but once."""


class Probe:
    """Notes the seconds of each phase, in 8 bytes each so as not to be what grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, dict[str, array[float]]] = {}
        self._tests = 0
        self._figures: dict[str, Any] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Let the kinds of tests take turns, so that a noisy moment hits all alike."""
        items.sort(key=lambda item: item.callspec.params["turn"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase."""
        kind = report.location[2].partition("[")[0]
        phases = self._seconds.setdefault(kind, {})
        phases.setdefault(report.when or "", array("d")).append(report.duration)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: object) -> None:
        """Note the memory when it is warm, and before the end of what the session has."""
        self._tests += 1
        if self._tests == WARM:
            self._figures["warm"] = memory_of("self")
        if nextitem is None:
            self._figures["end"] = memory_of("self")
            self._figures["memory"] = sum(map(_memory, processes_with(_mark())))
            self._figures["last_test_ended"] = time.perf_counter()

    def pytest_sessionfinish(self) -> None:
        """Hand over what was noted."""
        seconds = {k: {p: list(s) for p, s in ps.items()} for k, ps in self._seconds.items()}
        self._file.write_text(json.dumps({**self._figures, "seconds": seconds}))


def _mark() -> str:
    return f"{MARK}={os.environ[MARK]}"


def _memory(process: str) -> int:
    return memory_of(process.split()[0]) or 0


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note."""
    config.pluginmanager.register(Probe(config.rootpath / FILE))
