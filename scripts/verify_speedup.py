#!/usr/bin/env python3
"""Time the same tests with the original and with the fast fixture, and show both side by side.

    scripts/verify_speedup.py                        a sample of the slow side, a minute at most
    scripts/verify_speedup.py --full                 all of it
    scripts/verify_speedup.py --repo ~/thermostat    another repository, all that its pytest finds
    scripts/verify_speedup.py tests/test_a.py -- -k discovery

Each side is a `python -m pytest` of its own: "before" with CAMERA_DETECTOR_FIXTURE=original in its
environment, "after" without. The exit status is 0 if all tests pass on both sides, 1 if one fails
or ends differently on the two, 2 if they cannot be run.

The file is a pytest plugin as well: a copy of it in each of those processes reports, as they
happen, what the tests did and how long it took.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import html
import importlib
import importlib.metadata
import json
import math
import os
import platform
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
OUR_TESTS = "tests/test_detect.py"

SWITCH = "CAMERA_DETECTOR_FIXTURE"
ORDERS = "VERIFY_SPEEDUP_ORDERS"
PLUGIN = "verify_speedup_probe"
MARK = "--- verify_speedup: what follows comes after the last test ---"

PATIENCE = 15.0
"""Seconds that pytest gets to exit after its last test, or to end a test that breaks the budget."""

INTERRUPT_PATIENCE = 10.0
"""Seconds that pytest gets to clean up after an interrupt before it is killed."""

LINES_SHOWN = 5
TAIL_LINES = 15
WORTH_IT = 1.5
"""A speed-up below this is more likely an override that did not take."""


class CannotRunError(Exception):
    """What keeps the tests from being run, and what to do about it, in words for the user."""


class Side(NamedTuple):
    """One of the two sides of the comparison."""

    name: str
    fixture: str


BEFORE = Side("before", "original fixture")
AFTER = Side("after", "fast fixture")


# --- In pytest's process ------------------------------------------------------------------------


class Probe:
    """The plugin: tells the parent what happens, as news of the fields of its Run."""

    def __init__(self, pipe: str, tests: int | None, seconds: float) -> None:
        self._pipe = os.open(pipe, os.O_WRONLY)
        self._pid = os.getpid()
        self._tests = tests
        self._seconds = seconds
        self._stop_at = math.inf
        self._session: Any = None
        self._left = 0
        self._longest = 0.0
        self._phases: dict[str, dict[str, Any]] = {}
        self._counted: set[type] = set()
        with contextlib.suppress(ImportError):
            importlib.import_module("paho.mqtt.client")
        self._count_connections()
        sys.addaudithook(self._count_brokers)

    def pytest_configure(self, config: Any) -> None:
        """Keep what the other hooks need."""
        self._config = config
        # Of pytest-xdist: the process that it reports to is probed too.
        self._is_worker = hasattr(config, "workerinput")

    def pytest_collection_finish(self, session: Any) -> None:
        """Tell what was collected, and leave of it what is to be run."""
        collected = len(session.items)
        if self._tests is not None and not self._is_worker:
            # By their place in the files: a random order would make it another sample each time.
            chosen = set(spread(sorted(session.items, key=_place), self._tests))
            session.items[:] = [item for item in session.items if item in chosen]
        self._session, self._left = session, len(session.items)
        self._tell(collected=collected, planned=self._left)
        self._tell(versions=installed_versions(), parallel=self._is_worker)
        self._stop_at = time.perf_counter() + self._seconds

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell what is about to run; the test before may have imported another paho."""
        self._count_connections()
        if not self._is_worker:
            self._tell(running=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Gather what became of a test, and tell it when the test is torn down."""
        if self._is_worker:
            return
        phases = self._phases.setdefault(report.nodeid, {"outcome": "passed", "reason": ""})
        phases[report.when] = report.duration
        status = self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        phases["outcome"] = status[0] or phases["outcome"]
        if report.failed:
            phases["reason"] = _reason(report)
        if report.when == "teardown":
            self._end_test({"nodeid": report.nodeid, **self._phases.pop(report.nodeid)})

    def _end_test(self, phases: dict[str, Any]) -> None:
        test = Timing(**{"setup": 0.0, "call": 0.0, **phases})
        self._tell(test=asdict(test))
        self._left -= 1
        self._longest = max(self._longest, test.total)
        # In order, so that all is torn down, and before a test that would end too late.
        if self._left > 0 and time.perf_counter() + self._longest > self._stop_at:
            self._tell(stopped=True)
            self._session.shouldstop = "the time for the sample is over"

    def pytest_sessionfinish(self) -> None:
        """Mark the place on stderr: pytest itself writes nothing there any more."""
        if not self._is_worker:
            print(MARK, file=sys.__stderr__, flush=True)
            self._tell(finished=True)

    def pytest_unconfigure(self) -> None:
        """Mark the place on stdout, after pytest's summary."""
        if not self._is_worker:
            print(MARK, file=sys.__stdout__, flush=True)

    def _count_connections(self) -> None:
        """Wrap the method of paho's clients that all their connections go through."""
        client_class: Any = getattr(sys.modules.get("paho.mqtt.client"), "Client", None)
        if not isinstance(client_class, type) or client_class in self._counted:
            return  # no paho, a mock of it, or the one we know
        self._counted.add(client_class)
        reconnect = client_class.reconnect  # type: ignore[attr-defined]

        @functools.wraps(reconnect)
        def counting_reconnect(client: Any) -> Any:
            result = reconnect(client)
            self._tell(connections=1)
            return result

        client_class.reconnect = counting_reconnect  # type: ignore[attr-defined]

    def _count_brokers(self, event: str, args: tuple[Any, ...]) -> None:
        """Watch what is started (an audit hook: nobody can undo it, nor do anything before)."""
        if event != "subprocess.Popen":
            return
        executable, arguments = os.fsdecode(args[0]), args[1]
        if Path(executable).name == "mosquitto" and "-h" not in arguments:  # or it is just asked
            self._tell(brokers=1, mosquitto=executable)

    def _tell(self, **news: Any) -> None:
        if os.getpid() != self._pid:
            return  # a fork, where this number may be another file's by now
        # In one go, which keeps the lines of several threads and processes apart.
        os.write(self._pipe, json.dumps(news).encode() + b"\n")


def installed_versions() -> dict[str, str]:
    """Return the versions of what this process runs tests with."""
    versions = {"python": platform.python_version()}
    for package in ("pytest", "paho-mqtt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _place(item: Any) -> tuple[str, int, str]:
    file, line, _ = item.location
    return file, line or 0, item.nodeid


def _reason(report: Any) -> str:
    """Return the first line of what went wrong, where pytest knows it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", report.longrepr)).strip().partition("\n")[0]


def pytest_addhooks(pluginmanager: Any) -> None:
    """Begin: pytest calls this as it imports the plugin, before any conftest.py."""
    pluginmanager.register(Probe(**json.loads(os.environ[ORDERS])))


# --- One run ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """What became of one test, and the seconds that its phases took."""

    nodeid: str
    outcome: str
    reason: str
    setup: float
    call: float
    teardown: float

    @property
    def overhead(self) -> float:
        """What the fixtures cost."""
        return self.setup + self.teardown

    @property
    def total(self) -> float:
        """All of the test."""
        return self.overhead + self.call

    @property
    def failed(self) -> bool:
        """Say whether the test itself failed, or one of its fixtures."""
        return self.outcome in ("failed", "error")


@dataclass
class Run:
    """One side's tests, as far as they have run, and the process that ran them."""

    side: Side
    asked_for: int | None = None
    tests: list[Timing] = field(default_factory=list)
    collected: int = 0
    planned: int = 0
    parallel: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    running: str = ""
    stopped: bool = False
    finished: bool = False
    cut_off: str = ""
    status: int = 0
    seconds: float = 0.0
    last_test_ended: float = 0.0
    connections: int = 0
    brokers: int = 0
    mosquitto: str = ""
    output: str = ""
    noise: list[str] = field(default_factory=list)

    def take(self, news: dict[str, Any], seconds: float) -> None:
        """Take in what the probe tells, so many *seconds* after the start."""
        for name, value in news.items():
            if name == "test":
                self.tests.append(Timing(**value))
                self.last_test_ended = seconds
            elif name in ("connections", "brokers"):
                setattr(self, name, getattr(self, name) + value)
            else:
                setattr(self, name, value)

    def read_output(self, stdout: str, stderr: str) -> None:
        """Take in what pytest printed, and set apart what came after the last test."""
        self.output = "".join([stdout, stderr]).replace(MARK, "")
        late = [text.partition(MARK)[2] for text in (stderr, stdout)]
        self.noise = [line for text in late for line in text.splitlines() if line.strip()]

    @property
    def sampled(self) -> bool:
        """Say whether only some of the tests have run."""
        return len(self.tests) < self.collected

    @property
    def exit_seconds(self) -> float:
        """Seconds from the end of the last test to the end of the process."""
        return self.seconds - self.last_test_ended

    @property
    def whole_run_seconds(self) -> float:
        """Seconds that all tests take: measured, or what the sample makes of them."""
        of_tests = sum(test.total for test in self.tests)
        return self.seconds - of_tests + of_tests / len(self.tests) * self.collected

    @property
    def worst_overhead(self) -> float:
        """What the fixtures cost where they cost most."""
        return max(test.overhead for test in self.tests)

    def check(self) -> None:
        """Raise CannotRunError where there is nothing to compare."""
        if self.tests:
            return
        if self.cut_off:
            what = f"was interrupted {self.cut_off}: give a longer --budget, or --full"
        elif not self.collected and "No module named pytest" in self.output:
            what = "did not start: this Python has none, name one that has with --python"
        elif self.status == NO_TESTS:
            what = "has collected no tests: name some"
        else:
            what = f"ended with status {self.status}"
        tail = "".join(f"\n    {line}" for line in self.output.splitlines()[-TAIL_LINES:])
        raise CannotRunError(
            f"{self.side.name}, with the {self.side.fixture}, no test has ended. "
            f"pytest {what}. It says:{tail}"
        )

    def problems(self) -> list[str]:
        """Say what went wrong, a line each."""
        lines = [
            f"{self.side.name}: {test.nodeid}: {test.outcome}: {test.reason}"
            for test in self.tests
            if test.failed
        ]
        if self.cut_off or self.stopped:
            return lines
        if not self.finished:
            lines.append(f"{self.side.name}: pytest died (status {self.status}) in {self.running}")
        elif self.status != 0 and not lines:
            lines.append(f"{self.side.name}: pytest ended with status {self.status}")
        return lines


NO_TESTS = 5
"""pytest's exit status where it has collected nothing."""


class Pipe:
    """A FIFO to which many processes may write lines; an empty line is its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        # Both of its ends, so that nobody waits until the other is open, and none is ever closed.
        self._file = os.open(path, os.O_RDWR)
        self._rest = b""

    def read(self, deadline: float) -> list[bytes]:
        """Return the next lines.

        Raises:
            TimeoutError: there are none before *deadline*.
        """
        timeout = None if math.isinf(deadline) else max(0.0, deadline - time.perf_counter())
        if not select.select([self._file], [], [], timeout)[0]:
            raise TimeoutError
        *lines, self._rest = (self._rest + os.read(self._file, 1 << 16)).split(b"\n")
        return lines

    def write_end(self) -> None:
        """Have the reader see the end, after all that has been written before."""
        os.write(self._file, b"\n")

    def close(self) -> None:
        """Close both ends."""
        os.close(self._file)


@dataclass(frozen=True)
class Suite:
    """The tests, and what runs them."""

    repo: Path
    tests: Sequence[str]
    pytest_args: Sequence[str]
    python: str

    @property
    def command(self) -> list[str]:
        """The command line of both sides."""
        return [self.python, "-m", "pytest", "-p", PLUGIN, *self.pytest_args, *self.tests]


class PytestProcess:
    """A pytest in a process group of its own, gone at the end of the ``with`` block.

    What it prints goes to files, which unlike pipes need no reader and have no end that a process
    it left behind could keep open.
    """

    def __init__(self, suite: Suite, env: dict[str, str], folder: Path, pipe: Pipe) -> None:
        self._pipe = pipe
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self.began = time.perf_counter()
        self.seconds = 0.0
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            try:
                self._process = subprocess.Popen(
                    suite.command,
                    cwd=suite.repo,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as error:
                raise CannotRunError(f"{suite.python} cannot be run: {error.strerror}") from None
        self._waiter = threading.Thread(target=self._announce_end)
        self._waiter.start()

    def __enter__(self) -> PytestProcess:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.end()

    def _announce_end(self) -> None:
        self._process.wait()
        self.seconds = time.perf_counter() - self.began
        self._pipe.write_end()

    def output(self) -> tuple[str, str]:
        """Return what has been printed so far, to stdout and to stderr."""
        return self._stdout.read_text(errors="replace"), self._stderr.read_text(errors="replace")

    def end(self) -> int:
        """Interrupt pytest if it still runs, kill what remains; return pytest's exit status."""
        try:
            if self._process.poll() is None:
                self._signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(INTERRUPT_PATIENCE)
        finally:
            self._signal(signal.SIGKILL)
            self._waiter.join()
        return self._process.returncode

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(self._process.pid, number)


def run_tests(
    suite: Suite,
    side: Side,
    progress: Progress,
    tests: int | None = None,
    seconds: float = math.inf,
) -> Run:
    """Run one side: all its tests, or so many, which take so many *seconds* at most."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # A copy by itself: the other files in our folder are none of the suite's business.
        shutil.copy(__file__, folder / f"{PLUGIN}.py")
        pipe = Pipe(folder / "pipe")
        stack.callback(pipe.close)
        orders = {"pipe": str(pipe.path), "tests": tests, "seconds": seconds}
        env = {**_environment(side, folder), ORDERS: json.dumps(orders)}
        process = stack.enter_context(PytestProcess(suite, env, folder, pipe))
        run = Run(side, tests)
        _watch(run, process, pipe, process.began + seconds + PATIENCE, progress)
        run.status, run.seconds = process.end(), process.seconds
        if not run.cut_off:
            run.read_output(*process.output())
    run.check()
    return run


def _environment(side: Side, plugins: Path) -> dict[str, str]:
    path = [str(plugins), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), SWITCH: "original"}
    if side is AFTER:
        del environment[SWITCH]
    return environment


def _watch(
    run: Run, process: PytestProcess, pipe: Pipe, deadline: float, progress: Progress
) -> None:
    """Follow what the probe tells to the end of the process, or end it at the *deadline*."""
    while True:
        try:
            lines = pipe.read(deadline)
        except TimeoutError:
            run.cut_off = "after its last test" if run.finished else f"in {run.running}"
            run.read_output(*process.output())
            process.end()
            deadline = math.inf
            continue
        for line in lines:
            if not line:
                return
            news = json.loads(line)
            seconds = time.perf_counter() - process.began
            run.take(news, seconds)
            if run.parallel and run.asked_for:
                raise CannotRunError(
                    "tests that run in parallel cannot be sampled: "
                    "give `-- -n0` (pytest-xdist), or --full"
                )
            if "test" in news or "running" in news:
                progress.show(run, seconds)
            if run.finished and not run.cut_off:
                deadline = process.began + run.last_test_ended + PATIENCE


class Progress:
    """Says how far a run is: in a line that changes on a terminal, else in a line now and then."""

    INTERVAL = 1.0

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._said_last = -math.inf

    def show(self, run: Run, seconds: float) -> None:
        """Show where *run* is, so many *seconds* after its start."""
        of_all = f" (of {run.collected})" if run.planned < run.collected else ""
        done = f"{len(run.tests)} of {run.planned} tests{of_all}, {seconds:.0f} s"
        self.say(f"{run.side.name}: {done}, {run.running}")

    def say(self, line: str) -> None:
        """Show a line in place of the last."""
        if self._is_live:
            fitting = line[: shutil.get_terminal_size().columns - 1]
            print(f"\r{fitting}\033[K", end="", file=sys.stderr, flush=True)
        elif time.perf_counter() - self._said_last >= self.INTERVAL:
            self._said_last = time.perf_counter()
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for what follows."""
        if self._is_live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


# --- The comparison -----------------------------------------------------------------------------


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return *count* of *items*, the first of them and the others at even distances."""
    if count >= len(items):
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]


def run_sample(suite: Suite, budget: float, progress: Progress) -> Run:
    """Run the slow side as far as it goes in *budget* seconds.

    One test is run ahead, to know how many fit.
    """
    pilot = run_tests(suite, BEFORE, progress, tests=1, seconds=budget)
    a_test = pilot.tests[0].total
    besides = pilot.seconds - a_test
    left = budget - pilot.seconds - besides
    if left < a_test:
        return pilot
    fitting = int(min(left / a_test, pilot.collected))
    return run_tests(suite, BEFORE, progress, tests=fitting, seconds=left)


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what follows from them."""

    before: Run
    after: Run

    @property
    def pairs(self) -> list[tuple[Timing, Timing]]:
        """The tests that both sides ran, before and after."""
        after = {test.nodeid: test for test in self.after.tests}
        return [(test, after[test.nodeid]) for test in self.before.tests if test.nodeid in after]

    @property
    def median_overheads(self) -> tuple[float, float] | None:
        """Seconds before and after, of the tests that both sides ran and neither skipped."""
        ran = [pair for pair in self.pairs if "skipped" not in (pair[0].outcome, pair[1].outcome)]
        if not ran:
            return None
        before, after = zip(*ran)
        return (
            statistics.median(test.overhead for test in before),
            statistics.median(test.overhead for test in after),
        )

    @property
    def speed_up(self) -> float | None:
        """How many times smaller the median overhead has become."""
        medians = self.median_overheads
        return medians[0] / medians[1] if medians else None

    @property
    def whole_run_speed_up(self) -> float:
        """How many times shorter the whole run has become."""
        return self.before.whole_run_seconds / self.after.whole_run_seconds

    def problems(self) -> list[str]:
        """Say what failed on either side, and what differs between them."""
        lines = [*self.before.problems(), *self.after.problems()]
        lines += [
            f"differs: {before.nodeid}: {before.outcome} before, {after.outcome} after"
            for before, after in self.pairs
            if before.outcome != after.outcome
        ]
        if self.before.collected != self.after.collected:
            lines.append(
                f"differs: {self.before.collected} tests were collected before, "
                f"{self.after.collected} after"
            )
        common = {test.nodeid for test, _ in self.pairs}
        lines += [
            f"differs: {test.nodeid}: not run after"
            for test in self.before.tests
            if test.nodeid not in common
        ]
        return lines

    def remarks(self) -> list[str]:
        """Say what a reader of the figures has to know."""
        lines = [
            f"{run.side.name}: pytest was ended by force {run.cut_off}, {PATIENCE:g} s late"
            for run in (self.before, self.after)
            if run.cut_off
        ]
        if self.speed_up is not None and self.speed_up < WORTH_IT:
            lines.append(
                "Both sides take about as long: was any fixture replaced? The after side runs "
                f"without {SWITCH}=original in its environment, the before side with it."
            )
        lines += [
            line for line in self.after.output.splitlines() if "nothing was overridden" in line
        ]
        return lines


# --- What is shown ------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Write a duration as people do: 0.7 ms, 12 ms, 5.53 s, 5 min 40 s."""
    if seconds < 0.00995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def factor(ratio: float | None) -> str:
    """Write a ratio: 1.4 x, 460 x."""
    if ratio is None:
        return "-"
    return f"{ratio:.1f} x" if ratio < 9.95 else f"{ratio:,.0f} x"


def table(comparison: Comparison) -> str:
    """Return the figures as aligned text."""
    runs = comparison.before, comparison.after
    medians = comparison.median_overheads
    worst = [run.worst_overhead for run in runs]
    rows = [
        ("", *(run.side.name for run in runs), "ratio"),
        ("", *(run.side.fixture for run in runs), ""),
        ("tests run", *map(_tests_run, runs), ""),
        (
            "overhead per test, median",
            *(map(duration, medians) if medians else "--"),
            factor(comparison.speed_up),
        ),
        ("overhead per test, worst", *map(duration, worst), factor(worst[0] / worst[1])),
        ("whole run", *map(_whole_run, runs), factor(comparison.whole_run_speed_up)),
        ("last test to exit", *map(_exit, runs), ""),
        ("MQTT connections opened", *(_count(run.connections, run) for run in runs), ""),
        ("brokers started", *(_count(run.brokers, run) for run in runs), ""),
        ("errors after the last test", *(_lines(run.noise) for run in runs), ""),
        ("tests failed", *(str(sum(test.failed for test in run.tests)) for run in runs), ""),
    ]
    return aligned(rows, header=2)


def aligned(rows: Sequence[tuple[str, ...]], header: int) -> str:
    """Return a table, its first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join([label.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()
        for label, *cells in rows
    ]
    lines.insert(header, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _tests_run(run: Run) -> str:
    return f"{len(run.tests)} of {run.collected}" if run.sampled else str(run.collected)


def _whole_run(run: Run) -> str:
    sign = ">" if run.cut_off else "~" if run.sampled else ""
    return f"{sign}{duration(run.whole_run_seconds)}"


def _exit(run: Run) -> str:
    return f"{'>' if run.cut_off else ''}{duration(run.exit_seconds)}"


def _count(count: int, run: Run) -> str:
    return f"{count} in {len(run.tests)} tests" if run.sampled else str(count)


def _lines(noise: Sequence[str]) -> str:
    return f"{len(noise)} line{'s' * (len(noise) != 1)}" if noise else "none"


def notes(comparison: Comparison, description: dict[str, Any]) -> Iterator[str]:
    """Say how to read the table, what is wrong, and what the figures were taken on."""
    before = comparison.before
    if before.sampled:
        yield (
            f"~  Extrapolated: before, {len(before.tests)} of {before.collected} tests were "
            "sampled. --full runs all."
        )
    yield (
        "Overhead is set-up plus tear-down. The median is over the tests that both sides ran "
        f"({len(comparison.pairs)}),\nthe worst over all that a side ran."
    )
    for run in (before, comparison.after):
        yield from (f"{run.side.name}, after the last test: {x}" for x in run.noise[:LINES_SHOWN])
    yield from (f"Failed: {line}" for line in comparison.problems())
    yield from (f"Note: {line}" for line in comparison.remarks())
    yield in_words(description)


def describe(comparison: Comparison, repo: Path) -> dict[str, Any]:
    """Return everything there is to know, ready for JSON."""
    versions = dict(comparison.after.versions)
    mosquitto = comparison.after.mosquitto or comparison.before.mosquitto
    versions["mosquitto"] = mosquitto_version(mosquitto, repo)
    medians = comparison.median_overheads
    return {
        **circumstances(versions),
        **{run.side.name: _describe_run(run) for run in (comparison.before, comparison.after)},
        "compared_tests": len(comparison.pairs),
        "median_overhead": dict(zip(("before", "after"), medians)) if medians else None,
        "speed_up": {
            "median_overhead": comparison.speed_up,
            "whole_run": comparison.whole_run_speed_up,
        },
        "problems": comparison.problems(),
        "remarks": comparison.remarks(),
    }


def circumstances(versions: dict[str, str]) -> dict[str, Any]:
    """Return what figures are taken on, and when."""
    return {
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def in_words(circumstances: dict[str, Any]) -> str:
    """Write the circumstances in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in circumstances["versions"].items())
    machine = f"{circumstances['machine']}, {circumstances['cpus']} CPUs"
    return f"{machine}; {versions}; {circumstances['date']}"


def _describe_run(run: Run) -> dict[str, Any]:
    return {
        "fixture": run.side.fixture,
        "collected": run.collected,
        "sampled": run.sampled,
        "whole_run_seconds": run.whole_run_seconds,
        "measured_seconds": run.seconds,
        "exit_seconds": run.exit_seconds,
        "ended_by_itself": not run.cut_off,
        "exit_status": run.status,
        "mqtt_connections": run.connections,
        "brokers_started": run.brokers,
        "errors_after_last_test": run.noise,
        "worst_overhead": run.worst_overhead,
        "tests": [{**asdict(test), "overhead": test.overhead} for test in run.tests],
    }


def mosquitto_version(executable: str, folder: Path) -> str:
    """Ask the mosquitto that the tests have started."""
    if not executable:
        return "not started"
    try:
        usage = subprocess.run(
            [executable, "-h"], cwd=folder, capture_output=True, text=True, timeout=5
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return usage.partition("\n")[0].replace("mosquitto version", "").strip() or "unknown"


# --- The picture --------------------------------------------------------------------------------

WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 885, 85, 375
COLOURS = {BEFORE: "#d55e00", AFTER: "#0072b2"}  # told apart by colour-blind people too
USUAL_DECADES = (-3, 1)
LOWEST_DECADE = -5
STYLE = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


def picture(comparison: Comparison) -> str:
    """Return an SVG with two bars for each test, on a logarithmic axis."""
    pairs = sorted(comparison.pairs, key=lambda pair: pair[0].overhead)
    overheads = [test.overhead for pair in pairs for test in pair if test.overhead > 0]
    decades = _decades(overheads)
    elements = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 30, _title(comparison), size=17, weight=600),
        *_legend(),
        *_axis(decades),
        *_bars(pairs, decades),
        _text((LEFT + RIGHT) / 2, HEIGHT - 18, _caption(comparison), anchor="middle"),
    ]
    body = "\n".join(elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" style="{STYLE}">\n'
        f"<title>{html.escape(_title(comparison))}</title>\n{body}\n</svg>\n"
    )


def _title(comparison: Comparison) -> str:
    medians = comparison.median_overheads
    if medians is None:
        return "Overhead of each test, before and after"
    before, after = map(duration, medians)
    return f"Overhead per test: {before} before, {after} after ({factor(comparison.speed_up)})"


def _caption(comparison: Comparison) -> str:
    before = comparison.before
    of_all = f" of {before.collected}, sampled" if before.sampled else ""
    return f"{len(comparison.pairs)} tests{of_all}, sorted by their overhead before"


def _decades(overheads: Sequence[float]) -> range:
    """Return the powers of ten that the axis spans: the usual ones, or more if it takes them."""
    logarithms = [math.log10(overhead) for overhead in overheads]
    lowest = min([USUAL_DECADES[0], *map(math.floor, logarithms)])
    highest = max([USUAL_DECADES[1], *map(math.ceil, logarithms)])
    return range(max(lowest, LOWEST_DECADE), highest + 1)


def _height(overhead: float, decades: range) -> float:
    """Return the height of a bar; one that is off the axis is just visible."""
    place = math.log10(overhead) if overhead > 0 else -math.inf
    share = (place - decades[0]) / (decades[-1] - decades[0])
    return max(1.0, share * (BOTTOM - TOP))


def _axis(decades: range) -> Iterator[str]:
    for decade in decades:
        y = BOTTOM - (BOTTOM - TOP) * (decade - decades[0]) / (decades[-1] - decades[0])
        yield f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#d0d0d0"/>'
        yield _text(LEFT - 8, y + 4, _unit(decade), anchor="end")


def _unit(decade: int) -> str:
    return f"{10**decade:g} s" if decade >= 0 else f"{10.0 ** (decade + 3):g} ms"


def _legend() -> Iterator[str]:
    x = LEFT
    for side, colour in COLOURS.items():
        label = f"{side.name} ({side.fixture})"
        yield f'<rect x="{x}" y="46" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, 57, label)
        x += 210
    yield _text(RIGHT, 57, "set-up plus tear-down, logarithmic", anchor="end")


def _bars(pairs: Sequence[tuple[Timing, Timing]], decades: range) -> Iterator[str]:
    room = (RIGHT - LEFT) / max(1, len(pairs))
    width = min(0.4 * room, 30)
    for number, pair in enumerate(pairs):
        middle = LEFT + room * (number + 0.5)
        for x, test, colour in zip((middle - width, middle), pair, COLOURS.values()):
            height = _height(test.overhead, decades)
            tip = html.escape(f"{test.nodeid}: {duration(test.overhead)}")
            yield (
                f'<rect class="bar" x="{x:.2f}" y="{BOTTOM - height:.1f}" width="{width:.2f}" '
                f'height="{height:.1f}" fill="{colour}"><title>{tip}</title></rect>'
            )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: int = 400
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="#222">{html.escape(text)}</text>'
    )


# --- The command line ---------------------------------------------------------------------------


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is pytest's."""
    own, pytest_args = list(words), []
    if "--" in own:
        place = own.index("--")
        own, pytest_args = own[:place], own[place + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        usage="%(prog)s [options] [TESTS ...] [-- PYTEST_ARGS ...]",
    )
    parser.add_argument("tests", metavar="TESTS", nargs="*", help="what pytest is to run")
    parser.add_argument("--repo", type=Path, default=ROOT, help="the repository (default: this)")
    parser.add_argument("--full", action="store_true", help="run all tests on the slow side too")
    parser.add_argument(
        "--budget",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="what a sample of the slow side may take (default: %(default)g)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the tests here")
    parser.add_argument(
        "--python", default=sys.executable, metavar="EXE", help="what runs pytest (default: this)"
    )
    options = parser.parse_intermixed_args(own)
    options.pytest_args = pytest_args
    return options


def suite_of(options: argparse.Namespace) -> Suite:
    """Return what to run.

    Raises:
        CannotRunError: there is no such repository, or no such Python.
    """
    repo: Path = options.repo.resolve()
    if not repo.is_dir():
        raise CannotRunError(f"there is no folder {options.repo}; name a repository with --repo")
    python = shutil.which(options.python)
    if python is None:
        raise CannotRunError(f"there is no Python {options.python}; name one with --python")
    tests = options.tests or ([OUR_TESTS] if repo == ROOT else [])
    # Absolute, since it is started elsewhere; not resolved, or it would leave its environment.
    return Suite(repo, tests, options.pytest_args, str(Path(python).absolute()))


def compare(options: argparse.Namespace) -> int:
    """Run both sides, show and write what came of it, and return the exit status."""
    suite = suite_of(options)
    progress = Progress()
    try:
        if options.full:
            before = run_tests(suite, BEFORE, progress)
        else:
            before = run_sample(suite, options.budget, progress)
        comparison = Comparison(before, run_tests(suite, AFTER, progress))
    finally:
        progress.clear()
    description = describe(comparison, suite.repo)
    print(table(comparison), "", *notes(comparison, description), sep="\n")
    write(options.json, lambda: json.dumps(description, indent=2) + "\n")
    write(options.picture, lambda: picture(comparison))
    return 1 if comparison.problems() else 0


def write(path: Path | None, content: Callable[[], str]) -> None:
    """Write a file that was asked for, and the folders that it takes."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content(), encoding="utf-8")
    except OSError as error:
        raise CannotRunError(f"{path} cannot be written: {error.strerror}") from None


def exit_status_of(script: str, action: Callable[[], int]) -> int:
    """Do *action*, and turn what can go wrong into one message of *script*."""
    try:
        return action()
    except CannotRunError as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{script}: interrupted", file=sys.stderr)
        return 130


def take_other_ends_for_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP end what runs, and clean up, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, signal.default_int_handler)


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    options = parse(sys.argv[1:] if words is None else words)
    return exit_status_of("verify_speedup", lambda: compare(options))


if __name__ == "__main__":
    take_other_ends_for_ctrl_c()
    sys.exit(main())
