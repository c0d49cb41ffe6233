"""Runs of pytest whose fixtures are timed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from shared.paths import SCRIPTS, TESTS
from shared.pytest_process import PytestProcess

PATIENCE = 600.0
"""Seconds that the tests get."""

WHOSE = "the benchmark"


def pytest_in(folder: Path, *words: str, **variables: str) -> PytestProcess:
    """Start pytest in a folder, where it leaves its overheads.json."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmark.overheads", *words]
    path = os.pathsep.join(map(str, (SCRIPTS, TESTS)))
    # A worker of pytest-xdist that starts us has given its children its own name otherwise.
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_XDIST")}
    return PytestProcess(command, folder, {**kept, "PYTHONPATH": path, **variables}, folder)
