"""Runs of pytest whose fixtures are timed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from shared.paths import SCRIPTS, TESTS
from shared.phases import FILE, overheads
from shared.pytest_process import PytestProcess
from shared.timing import Seconds

PATIENCE = 600.0
"""Seconds that the tests get."""

WHOSE = "the benchmark"


def pytest_in(folder: Path, *words: str, **variables: str) -> PytestProcess:
    """Start pytest in a folder, where it leaves what its tests took."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "shared.phases", *words]
    path = os.pathsep.join(map(str, (SCRIPTS, TESTS)))
    # A worker of pytest-xdist that starts us has given its children its own name otherwise.
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_XDIST")}
    return PytestProcess(command, folder, {**kept, "PYTHONPATH": path, **variables}, folder)


def overheads_in(folder: Path) -> dict[str, Seconds]:
    """Return the set-up plus tear-down of the tests that have run there, by their functions."""
    seconds = json.loads((folder / FILE).read_text())["seconds"]
    return {function: overheads(phases) for function, phases in seconds.items()}
