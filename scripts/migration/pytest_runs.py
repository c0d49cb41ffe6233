"""Runs of the user's pytest, with a plugin that says what happens in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import probe
from .repository import CannotMigrateError, Repository

PATIENCE = 300.0
"""Seconds that pytest gets to collect all tests, or to run one."""

INTERRUPT_PATIENCE = 30.0
"""Seconds that a command gets to clean up after an interrupt before it is killed."""

_REFUSAL = re.compile(r"\w+ in .+ was left as it is: |\w+: nothing was overridden\.")

SWITCH = "CAMERA_DETECTOR_FIXTURE"


@dataclass(frozen=True)
class CollectedTest:
    """A test, and the modules that the fixtures we know come from."""

    nodeid: str
    is_skipped: bool
    fixtures: Mapping[str, str]
    of_plugins: Mapping[str, str] = field(default_factory=dict)
    """Those of the fixtures that a plugin defines, and what they are called there."""


@dataclass
class PytestRun:
    """What a run of pytest has told."""

    import_mode: str = ""
    rootdir: str = ""
    path: list[str] = field(default_factory=list)
    tests: list[CollectedTest] = field(default_factory=list)
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """For each phase of a test its outcome and, if it failed, the reason."""
    output: str = ""

    def take(self, news: dict[str, Any]) -> None:
        """Take in a line of what the plugin told."""
        if "phase" in news:
            self.outcomes[news["phase"]] = news["outcome"], news["reason"]
        elif "import_mode" in news:
            self.import_mode, self.rootdir = news["import_mode"], news["rootdir"]
        elif news["tests"]:  # pytest-xdist's main process collects none
            self.path = news["path"]
            self.tests = [CollectedTest(**test) for test in news["tests"]]

    @property
    def refusals(self) -> list[str]:
        """What the override of the fixtures says of those that it has left as they are."""
        lines = (line.strip() for line in self.output.splitlines())
        return list(dict.fromkeys(line for line in lines if _REFUSAL.match(line)))

    @property
    def error(self) -> str:
        """The line of pytest's output that says best what was wrong."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        errors = [line[1:].strip() for line in lines if line.startswith("E ")]
        return (errors or lines or ["it says nothing"])[-1]


def collect(repository: Repository) -> PytestRun:
    """Collect the repository's tests, and run none.

    Raises:
        CannotMigrateError: pytest does not start, or finds nothing.
    """
    run = _run_pytest(repository, ["--collect-only"])
    if not run.tests:
        raise CannotMigrateError(f"pytest collects no tests in {repository.root}: {run.error}")
    return run


def run_test(repository: Repository, run: PytestRun, test: CollectedTest) -> PytestRun:
    """Run one test of those that were collected in *run*."""
    return _run_pytest(repository, [f"{run.rootdir}/{test.nodeid}"])


def _run_pytest(repository: Repository, arguments: Sequence[str]) -> PytestRun:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        shutil.copy(probe.__file__, Path(folder) / "mqtt_migration_probe.py")
        environment = {
            **clean_environment(),
            "PYTHONPATH": os.pathsep.join(
                [folder, *filter(None, [os.environ.get("PYTHONPATH")])],
            ),
            probe.REPORT: str(report),
        }
        environment.pop(SWITCH, None)
        command = [repository.python, "-m", "pytest", "-p", "mqtt_migration_probe"]
        command += [*no_traces(folder), *arguments]
        run = PytestRun()
        with (Path(folder) / "output").open("w+", errors="replace") as output:
            run_command(command, repository.root, environment, output.fileno(), PATIENCE)
            output.seek(0)
            run.output = output.read()
        if not report.exists():
            raise CannotMigrateError(_why_it_did_not_start(repository, run))
        for line in report.read_text(encoding="utf-8").splitlines():
            run.take(json.loads(line))
    return run


def _why_it_did_not_start(repository: Repository, run: PytestRun) -> str:
    if "No module named pytest" in run.output:
        return f"{repository.python} has no pytest; name a Python that has: --python"
    if "ModuleNotFoundError" in run.error:
        return (
            f"pytest does not start in {repository.root} with {repository.python}: {run.error}; "
            "name the Python that has what the repository needs: --python"
        )
    return f"pytest does not start in {repository.root}: {run.error}"


def clean_environment() -> dict[str, str]:
    """Return the environment for runs that leave no files behind, as far as it is up to us."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def no_traces(folder: str) -> list[str]:
    """Return options that have pytest keep its cache in *folder*, not in the repository.

    To leave its plugin out instead would make options unknown that a user's settings may have.
    """
    return ["-o", f"cache_dir={folder}/cache"]


def run_command(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdout: int,
    timeout: float | None = None,
    stderr: int | None = subprocess.STDOUT,
) -> int:
    """Run a command, with whatever it starts, to its end; return its exit status.

    Raises:
        CannotMigrateError: it cannot be started.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # so that all of it can be ended
        )
    except OSError as error:
        raise CannotMigrateError(f"{command[0]} cannot be run: {error.strerror}") from None
    with _ended_with_its_group(process), contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    return process.returncode


@contextlib.contextmanager
def _ended_with_its_group(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(INTERRUPT_PATIENCE)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
