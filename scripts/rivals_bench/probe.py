"""A pytest plugin that writes down what the tests take, in time and in memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers.processes import memory_of, processes_with
from shared.phases import Phases

MARK = "MQTT_RIVALS"
"""The variable that all processes of a run have in their environment."""

WARM = 50
"""Tests after which a process has taken what it takes but once."""


class Probe(Phases):
    """Notes the memory, too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._tests = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: object) -> None:
        """Note the memory when it is warm, and before the end of what the session has."""
        self._tests += 1
        if self._tests == WARM:
            self.figures["warm"] = memory_of("self")
        if nextitem is None:
            self.figures["end"] = memory_of("self")
            self.figures["memory"] = sum(map(_memory, processes_with(_mark())))
            self.figures["last_test_ended"] = time.perf_counter()


def _mark() -> str:
    return f"{MARK}={os.environ[MARK]}"


def _memory(process: str) -> int:
    return memory_of(process.split()[0]) or 0


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note."""
    config.pluginmanager.register(Probe(config.rootpath))
