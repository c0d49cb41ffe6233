"""A user of scripts/migrate.py, and the repository that it is to change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from helpers.called_script import call_script
from helpers.drop_in import CAMERA_SERVICE

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
SCRIPT = SCRIPTS / "migrate.py"

sys.path.append(str(SCRIPTS))
import migrate  # noqa: E402
from migration.options import OPTIONS  # noqa: E402
from migration.pytest_runs import PytestRun  # noqa: E402
from migration.repository import (  # noqa: E402
    Repository,
    open_repository,
)
from migration.state import FOLDER, Change, State  # noqa: E402
from migration.wiring import planned_changes  # noqa: E402

SLOW = """
import pytest
from service import CameraDetector

@pytest.fixture
def camera_detector():
    return object()

def test_a_setting(camera_detector):
    assert camera_detector.mqtt_connected
"""

NEEDS_LIBCST = pytest.mark.skipif(not find_spec("libcst"), reason="fix needs libcst")

CAMERA = """\
from camera_detector_optimized_fixture import (  # noqa: F401
    camera_detector_fast,
    pytest_sessionfinish,
)
"""
LINES = f"{CAMERA}from concurrent_futures_fix import fix_concurrent_futures"
LINES += "  # noqa: F401\n"

FINDING_AT_ONCE = """
import threading
import paho.mqtt.client

class CameraDetector:
    def __init__(self):
        self.cameras = {}
        self.mqtt_connected = self._running = True
        background = threading.Thread(target=self._run_full_discovery)
        background.start()
        background.join()

    def _run_full_discovery(self):
        self.cameras["1"] = "found"
"""

SLEEPING = SLOW.replace("object()", "CameraDetector()")
SLEEPING += """
import time

def test_discovery(camera_detector):
    time.sleep(2)  # Wait for background discovery
    assert len(camera_detector.cameras) > 0
"""


def with_slow_fixture(text: str) -> str:
    """Have the fixture wait for a while, so that without it something is faster."""
    wait = "__import__('threading').Event().wait(1)"
    assert "return CameraDetector()" in text
    return text.replace("return CameraDetector()", f"{wait}; return CameraDetector()")


class User:
    """A user, a repository, and what the script says about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "CAMERA"))}
        self.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # so that pytest starts in no time
        self.env["GIT_CONFIG_GLOBAL"] = os.devnull
        self.write("service.py", dedent(CAMERA_SERVICE))
        self.write("tests/test_detect.py", SLOW)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file of the repository."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def read(self, name: str) -> str:
        """Read a file of the repository."""
        return (self.root / name).read_text()

    def run(
        self, command: str, *words: str | Path, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        result = subprocess.run(
            [sys.executable, SCRIPT, command, self.root, *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == status, result.stdout + result.stderr
        assert "Traceback (most" not in result.stderr
        return result

    def migrate(
        self, command: str, *words: object, status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Do what the script does, without a process of its own; None is any exit status."""
        result = call_script(migrate.main, [command, self.root, *words], self.env)
        assert status in (result.returncode, None), result
        return result

    def pytest(self) -> subprocess.CompletedProcess[str]:
        """Run the suite as it is now, with warnings as errors."""
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-W", "error"],
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def wire(self, option: int) -> None:
        """Do what `apply` does, but for running pytest."""
        changes = planned_changes(self.repository, OPTIONS[option], collected(), self.state)
        self.state.make(changes)

    def data(self, command: str, *words: object, status: int | None = 0) -> Any:
        """Do what the script does, and return its JSON."""
        data = json.loads(self.migrate(command, "--json", *words, status=status).stdout)
        assert status in (data["exit_status"], None)
        return data

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Everything that there is, with its content and mode."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode, path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not {FOLDER, ".git"} & set(path.relative_to(self.root).parts)
        }

    def git(self, *words: str) -> str:
        """Run git in the repository."""
        command = ["git", "-c", "user.name=u", "-c", "user.email=u@example.org", *words]
        return subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=True
        ).stdout

    @property
    def repository(self) -> Repository:
        """The repository as the script sees it."""
        return open_repository(self.root, None, sys.executable)

    @property
    def state(self) -> State:
        """What the script keeps of it."""
        return State(self.root)


def collected(**changes: Any) -> PytestRun:
    """Return what pytest has collected."""
    return PytestRun(**{"import_mode": "prepend", "path": [], **changes})


def plan(user: User, number: int = 1, **changes: Any) -> dict[str, Change]:
    """The changes that an option takes, by path."""
    run = collected(**changes)
    planned = planned_changes(user.repository, OPTIONS[number], run, user.state)
    return {str(change.path): change for change in planned}


def conftest_after(user: User, number: int = 1, **changes: Any) -> bytes | None:
    """Return the conftest.py that an option makes."""
    return plan(user, number, **changes)["tests/conftest.py"].new


def refuse(user: User, command: str, *words: object) -> str:
    """Return the one line that says why; nothing may have changed."""
    before = user.files() if user.root.is_dir() else None
    result = user.migrate(command, *words, status=2)
    *progress, reason = result.stderr.splitlines()
    assert reason.startswith("migrate: ")
    assert not any(line.startswith("migrate: ") for line in progress)
    if before is not None:
        assert user.files() == before
        assert not (user.root / FOLDER).is_dir()
    return reason
