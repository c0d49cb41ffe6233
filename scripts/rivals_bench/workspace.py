"""A repository for each rival, and runs of pytest in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.brokers import BareBroker
from shared.modules import copy_modules, find_mosquitto
from shared.paths import SCRIPTS, TESTS
from shared.pytest_process import PytestProcess
from soak_test.leftovers import end_what_stays

from .probe import MARK
from .rivals import SUITES, Rival

PATIENCE = 300.0
"""Seconds that a run gets."""

SERVICE_DOORS = ("optimized_service_fixture.py", "concurrent_futures_fix.py")


class Repository:
    """A repository that tests with one of the rivals."""

    def __init__(self, folder: Path, rival: Rival, python: str) -> None:
        self.rival = rival
        self._python = python
        self._mark = uuid.uuid4().hex
        self.folder = folder / rival.name
        self._tests = self.folder / "tests"
        self._tests.mkdir(parents=True)
        shutil.copy(SUITES / rival.files[0], self._tests / "conftest.py")
        for suite in {rival.suite, "test_leaks.py", "test_killed.py"}:
            shutil.copy(SUITES / suite, self._tests)
        if rival.is_ours:
            copy_modules(self._tests)
            for door in SERVICE_DOORS:
                shutil.copy(TESTS / door, self._tests)
        (self.folder / "pytest.ini").write_text("[pytest]\n")

    @contextlib.contextmanager
    def pytest(self, tests: str, *words: str) -> Iterator[PytestProcess]:
        """Run some of the tests, which end with the block at the latest."""
        outputs = Path(tempfile.mkdtemp(dir=self.folder))
        bus = f"rivals_bench.suites.{self.rival.bus}"
        plugins = [f"-p{plugin}" for plugin in (*self.rival.plugins, bus)]
        with self._broker() as options:
            command = [self._python, "-m", "pytest", "-q", *plugins, *options, *words]
            command.append(f"tests/{tests}")
            with PytestProcess(command, self.folder, self._environment(), outputs) as process:
                yield process

    def run(self, tests: str, *words: str) -> PytestProcess:
        """Run some of the tests to their end, and return what ran them.

        Raises:
            CannotRunError: one of them fails.
        """
        with self.pytest(tests, *words) as process:
            process.end_well(self.rival.name, PATIENCE)
        return process

    def end_what_stays(self, patience: float) -> list[str]:
        """Wait so many seconds for what the runs have started to be gone; end and name the rest."""
        return end_what_stays(f"{MARK}={self._mark}", patience)

    def set(self, **settings: object) -> None:
        """Write what the tests read."""
        (self.folder / "settings.json").write_text(json.dumps(settings))

    def read(self, name: str) -> Any:
        """Read what the tests or the probe have written."""
        return json.loads((self.folder / name).read_text())

    def _environment(self) -> dict[str, str]:
        path = [SCRIPTS, TESTS]
        kept = {n: value for n, value in os.environ.items() if n != "MQTT_TEST_BROKER_URL"}
        return {
            **kept,
            MARK: self._mark,
            "PATH": os.pathsep.join([str(Path(find_mosquitto()).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    @contextlib.contextmanager
    def _broker(self) -> Iterator[list[str]]:
        """Start the broker that has to run beforehand; give the options that lead to it."""
        if not self.rival.takes_a_broker:
            yield []
            return
        broker = BareBroker()
        try:
            broker.start()
            yield ["--mqtt-host=127.0.0.1", f"--mqtt-port={broker.address.port}"]
        finally:
            broker.stop()
