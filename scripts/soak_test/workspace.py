"""How much to do, where, and how to find again what was started."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from shared.modules import FOLDER_PREFIX, copy_modules
from shared.progress import Progress
from shared.pytest_process import PytestProcess
from speedup.run import Run, Side
from speedup.running import Suite, run_tests

SUITES = Path(__file__).with_name("suites")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

MARK = "MQTT_SOAK"
RUN_MARK = "MQTT_SOAK_RUN"

RUN_PATIENCE = 600.0
"""Seconds that a run of pytest gets."""

QUICK = 10
"""What everything is divided by where it is to be quick."""


class Workspace:
    """How much to do, where, and how to find again what was started."""

    def __init__(self, folder: Path, *, is_quick: bool, seed: int) -> None:
        self._folder = folder
        self._is_quick = is_quick
        self.seed = seed
        self.progress = Progress()
        self.token = uuid.uuid4().hex
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        # As under /tmp: mosquitto, started as root, becomes another user, who has to come through.
        folder.chmod(0o711)
        self.temporary.chmod(0o1777)

    def of(self, number: int) -> int:
        """Return *number*, or a part of it where it is to be quick."""
        return number // QUICK if self._is_quick else number

    def repository(self, name: str, suite: str, **settings: object) -> Path:
        """Make a repository with copies of the modules and of one suite, and return it.

        The suite finds its *settings* in the folder that it is run in.
        """
        repo = self._folder / name
        tests = repo / "tests"
        tests.mkdir(parents=True)
        copy_modules(tests)
        for file in ("conftest.py", suite):
            shutil.copy(SUITES / file, tests)
        (repo / "settings.json").write_text(json.dumps(settings))
        return repo

    def run(self, name: str, repo: Path) -> Run:
        """Run a repository's tests, timed one by one."""
        suite = Suite(repo, [], PYTEST[3:], sys.executable)
        return run_tests(suite, Side(name, ""), self.progress, seconds=RUN_PATIENCE)

    def pytest(
        self,
        repo: Path,
        *words: str,
        mark: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> PytestProcess:
        """Start pytest, which ends with the ``with`` block that this is for."""
        outputs = Path(tempfile.mkdtemp(dir=self._folder))
        variables = {**os.environ, **environment, RUN_MARK: mark}
        return PytestProcess([*PYTEST, *words], repo, variables, outputs)

    def folders_left(self) -> int:
        """Count the folders of brokers that are there."""
        return len(list(self.temporary.glob(f"{FOLDER_PREFIX}*")))

    def set_environment(self) -> None:
        """Mark what is started from here on, which writes to the folder."""
        os.environ.update({MARK: self.token, "TMPDIR": str(self.temporary)})
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what happens to be installed
        os.environ.pop("MQTT_TEST_BROKER_URL", None)  # a broker of others is not ours to kill
        tempfile.tempdir = str(self.temporary)
