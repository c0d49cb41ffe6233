"""Throw-away repositories with a fixture that is slow on demand, and runs that never were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shared.progress import Progress
from speedup import running
from speedup.command import main
from speedup.run import BEFORE, Run, Side, Timing
from speedup.running import Suite

from .called_script import call_script

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify_speedup.py"
SLOWNESS = 0.03

CONFTEST = f"""
import os, time, pytest

IS_SLOW = os.environ.get("CAMERA_DETECTOR_FIXTURE") == "original"

@pytest.fixture
def thing():
    if IS_SLOW:
        time.sleep({SLOWNESS})
    yield
"""

FIVE_TESTS = """
import pytest

@pytest.mark.parametrize("number", range(5))
def test_it(thing, number):
    pass
"""


class Repo:
    """A repository, and the script's word on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
        self.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # so that pytest starts in no time
        self.write("conftest.py", CONFTEST)
        self.write("test_one.py", FIVE_TESTS)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def command(self, *words: str | Path) -> list[str | Path]:
        return [sys.executable, SCRIPT, "--repo", self.folder, *words]

    def verify(self, *words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Do what the script does, without a process of its own."""
        result = call_script(main, ["--repo", self.folder, *words], self.env)
        assert result.returncode == status, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result

    def figures(self, *words: str | Path, status: int = 0) -> tuple[dict[str, Any], str]:
        report = self.folder / "report.json"
        result = self.verify("--json", report, *words, status=status)
        return json.loads(report.read_text()), result.stdout

    def run_before(self, **limits: Any) -> Run:
        suite = Suite(self.folder, [], [], sys.executable)
        return running.run_tests(suite, BEFORE, Progress(), **limits)


def timing(name: str, overhead: float, call: float = 0.0, outcome: str = "passed") -> Timing:
    return Timing(name, outcome, "", overhead * 0.75, call, overhead * 0.25)


def run(side: Side, *tests: Timing, **fields: Any) -> Run:
    fields = {"collected": len(tests), "finished": True, "seconds": 1.0, **fields}
    return Run(side, tests=list(tests), **fields)


def no_settings_of_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the environment that `Repo.verify` gives to the script, to call its functions here."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
