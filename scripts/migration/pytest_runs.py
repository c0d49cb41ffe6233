"""Runs of the user's pytest, with a plugin that says what happens in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mqtt_testing_probes
from shared.commands import CannotRunError
from shared.formatting import counted
from shared.pytest_process import InterruptedPytest
from speedup.run import SWITCH

from . import probe
from .repository import PATIENCE, Repository

if TYPE_CHECKING:
    from shared.progress import Progress

PLUGIN = "mqtt_migration_probe"
"""The name of the copy of the probe, which is all of us that the tests' pytest gets to see."""

LOOK_EVERY = 0.2
WORTH_SHOWING = 3.0
"""Seconds after which a step shows how far it is."""

_LATE = 2 * probe.GRACE
"""Seconds after which we end what the probe should have ended."""

_REFUSAL = re.compile(r"\w+ in .+ was left as it is: |\w+: nothing was overridden\.")

_RAISED = re.compile(r"([\w.]+\.)?\w*(Error|Exception|Exit)\b: ")
_LONGEST = 300
"""Characters of pytest's output that are worth a line of ours."""


@dataclass(frozen=True)
class CollectedTest:
    """A test, and the modules that the fixtures we know come from."""

    nodeid: str
    is_skipped: bool
    fixtures: Mapping[str, str]
    of_plugins: Mapping[str, str] = field(default_factory=dict)
    """Those of the fixtures that a plugin defines, and what they are called there."""

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.nodeid.partition("::")[0]


@dataclass
class Waits:
    """Where a test has waited: file, line, what for, and seconds."""

    nodeid: str
    places: list[tuple[str, int, str, float]]


@dataclass
class PytestRun:
    """What a run of pytest has told."""

    import_mode: str = ""
    rootdir: str = ""
    path: list[str] = field(default_factory=list)
    tests: list[CollectedTest] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    """The files that could not be collected, and why."""
    outcomes: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    """For each test that was run, and each of its phases, the outcome and the reason."""
    used: dict[str, bool] = field(default_factory=dict)
    """The watched fixtures that a test has got, and whether they were ours."""
    waits: list[Waits] = field(default_factory=list)
    addresses: list[tuple[str, int]] = field(default_factory=list)
    """What its processes have tried to connect to."""
    hang: str = ""
    """What did not end in time, and where it stands."""
    hung_in: str = ""
    """The test that it is, or what else."""
    collecting: int = 0
    output: str = ""

    def take(self, news: dict[str, Any]) -> None:
        """Take in a line of what the plugin told."""
        if "phase" in news:
            phases = self.outcomes.setdefault(news["nodeid"], {})
            phases[news["phase"]] = news["outcome"], news["reason"]
        elif "import_mode" in news:
            self.import_mode, self.rootdir = news["import_mode"], news["rootdir"]
        elif "collecting" in news:
            self.collecting += news["collecting"].endswith(".py")
        elif "error" in news:
            self.errors[news["error"]["path"]] = news["error"]["reason"]
        elif "used" in news:
            self.used[news["used"]] = news["ours"]
        elif "waited" in news:
            self.waits.append(Waits(news["waited"], [tuple(at) for at in news["at"]]))
        elif "address" in news:
            self.addresses.append(tuple(news["address"]))
        elif "hang" in news:
            self.hang, self.hung_in = _in_words(**news["hang"]), news["hang"]["what"]
        elif news["tests"]:  # pytest-xdist's main process collects none
            self.path = news["path"]
            self.tests = [CollectedTest(**test) for test in news["tests"]]

    @property
    def refusals(self) -> list[str]:
        """What the override of the fixtures says of those that it has left as they are."""
        lines = (line.strip() for line in self.output.splitlines())
        return list(dict.fromkeys(line for line in lines if _REFUSAL.match(line)))

    @property
    def connects_as_it_is_collected(self) -> bool:
        """Whether files that cannot be collected may want a broker, as they have asked for one."""
        return bool(self.errors and self.addresses)

    @property
    def places(self) -> str:
        """The first of the addresses that were asked for."""
        return ", ".join(f"{host}:{port}" for host, port in self.addresses[:3])

    @property
    def reason(self) -> str:
        """Why nothing, or not everything, is collected."""
        return next(iter(self.errors.values()), self.error)

    @property
    def error(self) -> str:
        """The line of pytest's output that says best what was wrong."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        errors = [line[1:].strip() for line in lines if line.startswith("E ")]
        likely = errors or lines
        raised = [line for line in likely if _RAISED.match(line)]  # it may go on for lines
        said = (raised or likely or ["it says nothing"])[-1]
        return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."


def _in_words(what: str, at: Sequence[Any] | None) -> str:
    if at is None:
        return f"{what}, in no line of the repository"
    file, line, kind = at
    return f"{what}, at {file}:{line}, which waits for {kind}"


@dataclass(frozen=True)
class Pytest:
    """The pytest of a repository, what is watched in it, and how long a step of it may take."""

    repository: Repository
    watched: Mapping[str, str] = field(default_factory=dict)
    """Fixtures, and the end of the name of the module that they are to come from."""
    timeout: float = PATIENCE

    def collect(self) -> PytestRun:
        """Collect the repository's tests, and run none.

        Raises:
            CannotRunError: pytest does not start, hangs, or finds nothing, and that is not for
                want of a broker.
        """
        run = self._run(["--collect-only"], "collecting")
        root = self.repository.root
        if run.hang:
            raise CannotRunError(f"pytest hangs as it collects {root}: {run.hang}")
        if not run.tests and not run.connects_as_it_is_collected:
            why = f"{run.reason}{_hint_at_python(self.repository, run.reason)}"
            raise CannotRunError(f"pytest collects no tests in {root}: {why}")
        return run

    def prove(self, fixture: str) -> PytestRun:
        """Collect all tests, and run some that ask for a fixture until one has got it."""
        return self._run(["--continue-on-collection-errors"], "running a test", proves=fixture)

    def _run(self, arguments: Sequence[str], step: str, *, proves: str = "") -> PytestRun:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**clean_environment(), **self.environment(Path(folder), proves=proves)}
            environment.pop(SWITCH, None)
            command = [self.repository.python, "-m", "pytest", "-p", PLUGIN]
            command += [*no_traces(folder), *arguments]
            run = PytestRun()
            report = Path(folder) / "report"
            root = self.repository.root
            with (
                _Following(run, report, step, self.timeout) as following,
                InterruptedPytest(command, root, environment, Path(folder)) as process,
            ):
                while following.goes_on() and not process.ends_within(LOOK_EVERY):
                    pass
            run.output = "".join(process.output())
            if not run.rootdir and not run.hang:
                raise CannotRunError(_why_it_did_not_start(self.repository, run))
        return run

    def environment(self, folder: Path, *, proves: str = "") -> dict[str, str]:
        """Put the probe into a folder; return what has pytest find it."""
        copy = folder / PLUGIN
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(probe.__file__).parent, copy, ignore=ignored)
        mqtt_testing_probes.copy_to(folder)
        orders = {
            "report": str(folder / "report"),
            "root": str(self.repository.root),
            "watched": dict(self.watched),
            "timeout": self.timeout,
            "proves": proves,
        }
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(path), probe.ORDERS: json.dumps(orders)}


class _Following:
    """Takes in what the probe tells while pytest runs, shows how far it is, and ends it if late."""

    def __init__(self, run: PytestRun, report: Path, step: str, timeout: float) -> None:
        self._run = run
        self._report = report
        self._step = step
        self._timeout = timeout
        self._read = 0
        self._began = self._heard = time.perf_counter()
        self._progress: Progress | None = None

    def __enter__(self) -> _Following:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.goes_on()
        if self._progress is not None:
            self._progress.clear()

    def goes_on(self) -> bool:
        """Take in what is new; return whether to go on."""
        news = read_news(self._report, self._read)
        if news:
            self._heard = time.perf_counter()
        for line in news:
            self._run.take(json.loads(line))
            self._read += len(line)
        if time.perf_counter() - self._began > WORTH_SHOWING:
            self._show()
        if time.perf_counter() - self._heard <= self._timeout + _LATE:
            return True
        self._run.hang = self._run.hang or f"it has said nothing for {self._timeout:g} s"
        return False

    def _show(self) -> None:
        from shared.progress import Progress  # on use: a short step shows nothing

        if self._progress is None:
            self._progress = Progress()
        self._progress.show(self._step, self._run.collecting, unit="files")


def read_news(report: Path, offset: int = 0) -> list[bytes]:
    """Return the whole lines of a report after so many bytes."""
    if not report.exists():
        return []
    with report.open("rb") as file:
        file.seek(offset)
        return [line for line in file if line.endswith(b"\n")]


def _why_it_did_not_start(repository: Repository, run: PytestRun) -> str:
    if "No module named pytest" in run.output:
        return f"{repository.python} has no pytest; name a Python that has: --python"
    hint = _hint_at_python(repository, run.error) or _hint_at_broker(run.error)
    return f"pytest does not start in {repository.root}: {run.error}{hint}"


def _hint_at_python(repository: Repository, error: str) -> str:
    """Return what to add to an error that another Python may not have; empty for others."""
    if "ModuleNotFoundError" not in error:
        return ""
    return (
        f". This was {repository.python}: name the Python that has what the repository needs: "
        "--python"
    )


def _hint_at_broker(error: str) -> str:
    """Return what to add where conftest.py needs a broker before ours can be led to."""
    if "ConnectionRefusedError" not in error:
        return ""
    return (
        ". A conftest.py imports what connects at once, to a broker that is not there: copy the "
        "folder and the doors by hand, and call redirect_to_test_broker() above that import"
    )


def left_out(errors: Mapping[str, str]) -> list[str]:
    """Say which files pytest cannot collect."""
    if not errors:
        return []
    head = f"pytest cannot collect {counted(len(errors), 'file')}, and goes on without:"
    return [head, *(f"    {path}: {reason}" for path, reason in errors.items())]


def clean_environment() -> dict[str, str]:
    """Return the environment for runs that leave no files behind, as far as it is up to us."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def no_traces(folder: str) -> list[str]:
    """Return options that have pytest keep its cache in *folder*, not in the repository.

    To leave its plugin out instead would make options unknown that a user's settings may have.
    """
    return ["-o", f"cache_dir={folder}/cache"]
