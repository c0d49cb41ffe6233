"""The suite before and after the migration: what became of each test, and why."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .findings import Finding, scan
from .findings.sources import is_skipped
from .pytest_runs import SWITCH, clean_environment, no_traces, run_command
from .repository import CannotMigrateError, Repository, decode
from .state import FOLDER, State
from .wiring import wired_options

SPEED_UP_SCRIPT = Path(__file__).resolve().parent.parent / "verify_speedup.py"
COPY = "before"
"""The folder, in that of the state, for the suite as it was."""

CANNOT_RUN = 2
"""The script's exit status where it has nothing to compare."""


@dataclass(frozen=True)
class Regression:
    """A test that passed before, and does not now."""

    nodeid: str
    outcome: str
    reason: str
    diagnosis: str


@dataclass(frozen=True)
class Verification:
    """What the comparison of the two sides has shown."""

    regressions: list[Regression]
    newly_passing: list[str]
    before: dict[str, int]
    after: dict[str, int]
    speed_up: dict[str, float | None]
    median_overhead: dict[str, float] | None
    remarks: list[str]
    date: str
    fingerprint: str

    @property
    def is_good(self) -> bool:
        """Say whether nothing got worse, and something passed at all."""
        return not self.regressions and self.after.get("passed", 0) > 0


def verify(repository: Repository, state: State, show: Callable[[str], None]) -> Verification:
    """Run the suite as it was and as it is, and compare.

    The suite as it was runs in a copy, where the files have their contents of before: with the
    original fixture, the tests that have been made explicit would fail.

    Raises:
        CannotMigrateError: one of them cannot be run.
    """
    fingerprint = repository.fingerprint()
    options = wired_options(repository)
    wording = _WORDINGS[1 if 1 in options else max(options, default=1)]
    with _as_it_was(repository, state) as copy, tempfile.TemporaryDirectory() as folder:
        python = _python_that_runs_before_in(copy, repository.python, Path(folder))
        figures = _compare_sides(repository, python, Path(folder), show, wording)
    before, after = (_outcomes(figures[side]) for side in ("before", "after"))
    return Verification(
        regressions=list(_regressions(repository, before, after, wording)),
        newly_passing=sorted(
            nodeid
            for nodeid, (outcome, _) in after.items()
            if outcome == "passed" and before.get(nodeid, ("passed",))[0] != "passed"
        ),
        before=dict(Counter(outcome for outcome, _ in before.values())),
        after=dict(Counter(outcome for outcome, _ in after.values())),
        speed_up=figures["speed_up"],
        median_overhead=figures["median_overhead"],
        remarks=[_in_words(wording, remark) for remark in figures["remarks"]],
        date=figures["date"],
        fingerprint=fingerprint,
    )


# --- Both sides ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _as_it_was(repository: Repository, state: State) -> Iterator[Path]:
    """Give a copy of the repository as it was, until the end of the ``with`` block.

    It is inside the repository, so that settings are found in the same folders above it; what the
    migration does not touch is linked.
    """
    copy = state.folder / COPY
    _remove(copy)
    try:
        _make_copy(repository, state, copy)
        yield copy
    finally:
        _remove(copy)


def _make_copy(repository: Repository, state: State, copy: Path) -> None:
    changes = state.restoration()
    changed = {change.path.parts[0] for change in changes}
    try:
        copy.mkdir(parents=True)
        for entry in repository.root.iterdir():
            if entry.name in changed or _has_tests(repository, entry):
                _copy(entry, copy / entry.name)
            elif entry.name != FOLDER:
                (copy / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
        for change in changes:
            if change.new is None:
                (copy / change.path).unlink(missing_ok=True)
            else:
                (copy / change.path).write_bytes(change.new)
    except OSError as error:  # shutil.Error, which has a list, is one
        raise CannotMigrateError(f"the suite cannot be copied to {copy}: {error}") from None


def _has_tests(repository: Repository, entry: Path) -> bool:
    """Say whether there may be tests in an entry of the root: Python would see through a link."""
    if repository.tests.parts:
        return entry.name == repository.tests.parts[0]
    return not is_skipped(entry)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=ignore)
    else:
        shutil.copy2(source, target)


def _remove(copy: Path) -> None:
    if copy.exists():
        shutil.rmtree(copy)


def _python_that_runs_before_in(copy: Path, python: str, folder: Path) -> Path:
    """Return a command for the script's --python that starts its side "before" in the copy."""
    command = folder / "python"
    command.write_text(
        "#!/bin/sh\n"
        f'[ "${SWITCH}" != original ] || cd {shlex.quote(str(copy))} || exit\n'
        f'exec {shlex.quote(python)} "$@"\n'
    )
    command.chmod(0o755)
    return command


def _compare_sides(
    repository: Repository,
    python: Path,
    folder: Path,
    show: Callable[[str], None],
    wording: _Wording,
) -> Any:
    report, table = folder / "report.json", folder / "table"
    command = [sys.executable, str(SPEED_UP_SCRIPT), "--repo", str(repository.root), "--full"]
    command += ["--python", str(python), "--json", str(report), "--", *no_traces(str(folder))]
    with table.open("wb") as output:
        # Its progress, and what keeps it from running, it says on stderr itself.
        status = run_command(
            command, repository.root, clean_environment(), output.fileno(), stderr=None
        )
    if status == CANNOT_RUN or not report.exists():
        raise CannotMigrateError(f"the suite cannot be compared (status {status}), as said above")
    show(_in_words(wording, table.read_text(encoding="utf-8", errors="replace")))
    return json.loads(report.read_bytes())


def _in_words(wording: _Wording, text: str) -> str:
    """Say what the sides are, where no fixture is replaced that the script could speak of."""
    for heading, ours in wording.headings.items():
        text = text.replace(heading, ours.rjust(len(heading)))
    return re.sub(r"(?<=Both sides take about as long: ).*", wording.no_faster or r"\g<0>", text)


def _outcomes(side: Any) -> dict[str, tuple[str, str]]:
    """Return the outcome and the reason of each test.

    Where pytest's settings are above the repository, the names begin there, and the copy is in
    them.
    """
    return {
        test["nodeid"].replace(f"{FOLDER}/{COPY}/", "", 1): (test["outcome"], test["reason"])
        for test in side["tests"]
    }


# --- What got worse -----------------------------------------------------------------------------


def _regressions(
    repository: Repository,
    before: dict[str, tuple[str, str]],
    after: dict[str, tuple[str, str]],
    wording: _Wording,
) -> Iterator[Regression]:
    findings = None
    for nodeid, (outcome_before, _) in before.items():
        outcome, reason = after.get(nodeid, ("not run", ""))
        if outcome_before != "passed" or outcome == "passed":
            continue
        if findings is None:
            findings = scan(repository.root, repository.tests)
        diagnosis = wording.diagnose(repository, nodeid, reason, findings)
        yield Regression(nodeid, outcome, reason, diagnosis)


@dataclass(frozen=True)
class _Cause:
    """A reason why tests fail after the migration, and what it looks like."""

    remedy: str
    message: str = "$nothing"
    """What the error says, as a regular expression; this one matches none."""
    source: str = "$nothing"
    """What the test says, likewise."""


CAUSES = (
    _Cause(
        "has the old fixture: the override did not take; apply says why",
        message="has no attribute 'test_run_discovery_once'|has no attribute 'test_run_health",
    ),
    _Cause(
        "found another class: the service is importable under two names, or under none that is "
        "known. Override the fixture camera_detector_class in conftest.py, to return the class "
        "that the test patches",
        message="several classes CameraDetector|No class CameraDetector",
    ),
    _Cause("has no broker: install mosquitto, or set MQTT_TEST_MOSQUITTO", message="mosquitto was"),
    _Cause(
        "needs a fixture that the fast one does not set up: have the test ask for it",
        message="fixture '.*' not found",
    ),
    _Cause(
        "uses what the slow fixture gave the service, and the fast one does not: have a fixture "
        "that asks for the fast one set it, and the test ask for that",
        message="'(?!NoneType')\\w+' object has no attribute",
    ),
    _Cause(
        "needs a dedicated broker, where only the slow fixture started one: have it connect to "
        "test_mqtt_broker.port, or to isolated_mqtt_broker.port for a broker of its own",
        message="Connection refused|ConnectionRefusedError",
    ),
    _Cause(
        "needs a dedicated client: a client on loan always reaches the test broker, is no session "
        "that another could take over, and is gone after the test. Make a client in the test, on "
        "the fixture isolated_mqtt_broker",
        message="on loan|DID NOT RAISE.*(Connection|OSError|Timeout)",
        source=r"clean_session|clean_start|will_set|SessionExpiry|take.?over|_sock\b|1883",
    ),
    _Cause(
        "found another class: it patches a name in a module that the fixture's class is not of. "
        "Import the class in the test module from the module that is patched, or override the "
        "fixture camera_detector_class in conftest.py",
        source=r"""\bpatch(\.object)?\(|monkeypatch\.setattr\(\s*["']|isinstance\(""",
    ),
)
BACKGROUND = (
    "slept for background work, which does not run by itself any more: call "
    "camera_detector.test_run_discovery_once() or test_run_health_check_once() instead, or "
    "test_enable_background_tasks() where the background is what is tested"
)
SHARED = (
    "shared the service with the tests before it, as the slow fixture is not function-scoped; the "
    "fast one gives each test a service of its own: have the test do all that it relies on"
)
_SHARED_FIXTURE = re.compile(r"fixture\(.*scope=.(class|module|package|session)")
_OVERRIDDEN = re.compile(r"\boverride_fixture\(\s*[\"'](\w+)")

_WITHOUT_SERVICE = (
    _Cause("has no broker: install mosquitto, or set MQTT_TEST_MOSQUITTO", message="mosquitto was"),
    _Cause(
        "wants a broker of its own, or none, at port 1883 or 8883, and redirected_mqtt_clients "
        "leads it to the session's: have it use another port, or TestMQTTBroker(port=...), whose "
        "address is left alone",
        message=r"Connection refused|ConnectionRefusedError|DID NOT RAISE|not raised",
        source=r"clean_session|clean_start|will_set|retain|take.?over|1883|8883",
    ),
)
_WAITS = re.compile(r"\bsleep\(|\.wait\(|\bwait_for|monotonic\(|while .*:|_thread\b|is_alive\(")
_EXPLICIT = re.compile(r"\btest_(run_\w+_once|enable_background_tasks)\(")


def diagnose(repository: Repository, nodeid: str, reason: str, findings: Sequence[Finding]) -> str:
    """Say why a test of a service fails that passed before, as far as error and source tell."""
    lines, source = _source_of(repository, nodeid)
    path = Path(nodeid.partition("::")[0])
    waits = bool(_WAITS.search(source)) and not _EXPLICIT.search(source)
    for cause in CAUSES:
        if re.search(cause.message, reason):
            return cause.remedy
    is_found = any(finding.path == path and finding.line in lines for finding in findings)
    likely = [BACKGROUND] if is_found else []
    likely += [cause.remedy for cause in CAUSES if re.search(cause.source, source)]
    likely += [BACKGROUND] if waits else []
    likely += [SHARED] if _shares_its_service(repository, path, source) else []
    return "; or it ".join(dict.fromkeys(likely)) or (
        "has no known cause: run it alone, and again with CAMERA_DETECTOR_FIXTURE=original in the "
        "environment"
    )


def diagnose_clients(
    repository: Repository, nodeid: str, reason: str, _findings: Sequence[Finding]
) -> str:
    """Do so for a test whose service, if it has one, runs as it did before."""
    _, source = _source_of(repository, nodeid)
    likely = [c.remedy for c in _WITHOUT_SERVICE if re.search(c.message, reason)]
    likely += [c.remedy for c in _WITHOUT_SERVICE if re.search(c.source, source)]
    return "; or it ".join(dict.fromkeys(likely)) or (
        "has no known cause: run it alone, and again without redirected_mqtt_clients, and without "
        "prompt_mqtt_clients, in the fixture every_client of conftest.py"
    )


def diagnose_executors(
    _repository: Repository, _nodeid: str, _reason: str, _findings: Sequence[Finding]
) -> str:
    """Do so for a test of a suite where nothing but the executors was mended."""
    return (
        "has no known cause: run it alone, and again without the import of fix_concurrent_futures "
        "in conftest.py"
    )


@dataclass(frozen=True)
class _Wording:
    """How to speak of a comparison, by what it is that the migration has changed."""

    diagnose: Callable[[Repository, str, str, Sequence[Finding]], str]
    headings: Mapping[str, str]
    """What stands above a column, in place of what the speed-up script writes there."""
    no_faster: str = ""
    """What to make of two sides that take about as long."""


_NO_FIXTURE = {"original fixture": "as it was", "fast fixture": "as it is"}
_WORDINGS = {
    1: _Wording(diagnose, headings={}),
    2: _Wording(
        diagnose_executors,
        _NO_FIXTURE,
        "option 2 mends executors, and makes nothing faster. Options 1 and 3 do.",
    ),
    3: _Wording(
        diagnose_clients,
        _NO_FIXTURE,
        "the time goes to sleeps, which option 3 leaves where they are: scan lists them.",
    ),
}


def _shares_its_service(repository: Repository, path: Path, source: str) -> bool:
    """Say whether the slow fixture of a test, in its file or a conftest.py, serves several."""
    places = [path, *(folder / "conftest.py" for folder in path.parents)]
    texts = [decode(content, p) for p in places if (content := repository.read(p)) is not None]
    overridden = {"camera_detector", *(n for text in texts for n in _OVERRIDDEN.findall(text))}
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name in overridden
        and re.search(rf"\b{node.name}\b", source)
        and any(_SHARED_FIXTURE.search(ast.unparse(d)) for d in node.decorator_list)
        for text in texts
        for node in ast.walk(ast.parse(text))
    )


def _source_of(repository: Repository, nodeid: str) -> tuple[range, str]:
    """Return the lines of a test, and their text."""
    path, *names = nodeid.partition("[")[0].split("::")
    content = repository.read(Path(path))
    if content is None:
        return range(0), ""
    text = decode(content, Path(path))
    node: ast.AST = ast.parse(text)
    for name in names:
        inside = getattr(node, "body", ())
        node = next((n for n in inside if getattr(n, "name", None) == name), node)
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return range(0), ""
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return lines, ast.get_source_segment(text, node) or ""
