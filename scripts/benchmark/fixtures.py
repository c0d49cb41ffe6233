"""What a test costs that asks for one of the fixtures."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from shared.commands import CannotRunError
from shared.paths import SCRIPTS, TESTS
from shared.pytest_process import PytestProcess
from shared.timing import Seconds

SUITES = Path(__file__).with_name("suites")

BARE_CLIENT = "a fixture that connects a bare client"
TESTS_IN_WORDS = {
    "test_nothing": "a test without a fixture",
    "test_bare_client": BARE_CLIENT,
    "test_loan": "mqtt_client",
    "test_service": "camera_detector_fast",
    "test_discovery": "camera_detector_fast after a discovery",
}

PATIENCE = 600.0
"""Seconds that the tests get."""


def time_fixtures(rounds: int) -> dict[str, Seconds]:
    """Run tests that only ask for a fixture; return what pytest says that this took.

    Raises:
        CannotRunError: one of them fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("conftest.py", "test_fixtures.py"):
            shutil.copy(SUITES / file, folder)
        (folder / "settings.json").write_text(json.dumps({"rounds": rounds + 1}))
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly -p no:asyncio\n")
        _run_pytest(folder)
        seconds: dict[str, Seconds] = json.loads((folder / "overheads.json").read_text())
    # The first one warms up.
    return {words: seconds[test][1:] for test, words in TESTS_IN_WORDS.items()}


def _run_pytest(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmark.overheads"]
    path = os.pathsep.join(map(str, (SCRIPTS, TESTS)))
    with PytestProcess(command, folder, {**os.environ, "PYTHONPATH": path}, folder) as process:
        process.ends_within(PATIENCE)
        status = process.end()
    if status != 0:
        output = "".join(process.output())
        raise CannotRunError(f"the tests of the benchmark ended with status {status}:\n{output}")
