"""What a rival takes: in time, in memory, and in what it leaves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from shared.commands import CannotRunError
from shared.modules import wait_until
from shared.phases import FILE, overheads

from .probe import WARM
from .rivals import EMPTY, Rival
from .workspace import Repository

PROBE = ("-p", "rivals_bench.probe")

START_PATIENCE = 30.0
"""Seconds that a test gets to begin."""

ORPHAN_PATIENCE = 5.0
"""Seconds that what pytest has started gets to end, once pytest is killed."""


TYPICAL = 50
"""Tests of the run that a figure is of where it is not said."""


@dataclass(frozen=True)
class Run:
    """A run of so many tests: seconds, and KiB."""

    tests: int
    seconds: float
    exit: float
    memory: int
    growth: float | None  # KiB a test, once it is warm
    overhead: float
    """The median of set-up plus tear-down."""
    kinds: dict[str, float]
    """The medians of all three phases together, by what is tested."""


@dataclass
class Result:
    """All that was found of a rival."""

    rival: Rival
    title: str
    lines: int
    runs: dict[int, list[Run]] = field(default_factory=dict)
    growths: list[float] = field(default_factory=list)
    """How many times the overhead of a few tests the largest run had, beside them."""
    first: list[float] = field(default_factory=list)
    leaks: list[str] | None = None
    orphans: int | None = None

    def median(self, tests: int, of: Callable[[Run], float]) -> float | None:
        """Return the median of the rounds with so many tests; None if there was none."""
        runs = self.runs.get(tests)
        return statistics.median(map(of, runs)) if runs else None

    def typical(self, of: Callable[[Run], float]) -> float | None:
        """Return the median of the rounds with as many tests as it has run, up to a few."""
        few = [tests for tests in self.runs if tests <= TYPICAL] or list(self.runs)
        return self.median(max(few), of) if few else None

    def memory_growth(self) -> float | None:
        """Return the KiB that a test adds to pytest's memory, in the largest run."""
        runs = self.runs.get(max(self.runs, default=0), [])
        known = [run.growth for run in runs if run.growth is not None]
        return statistics.median(known) if known else None

    def overhead_growth(self) -> float | None:
        """Return how many times the overhead of a run of a few tests the largest run has."""
        return statistics.median(self.growths) if self.growths else None

    def one_test(self) -> float | None:
        """Return the seconds of a run of one test."""
        return statistics.median(self.first) if self.first else None

    def count_leaks(self) -> int | None:
        """Return how many things are there in the next test."""
        return None if self.leaks is None else len(self.leaks)

    def as_json(self) -> dict[str, Any]:
        """Return what is written to the file of all figures."""
        return {**asdict(self), "rival": self.rival.name}


def run_tests(repository: Repository, tests: int) -> Run:
    """Run so many tests."""
    repository.set(tests=tests)
    process = repository.run(repository.rival.suite, *PROBE)
    probed = repository.read(FILE)
    phases = probed["seconds"]
    growth = None
    if tests > WARM and probed["end"] is not None:
        growth = (probed["end"] - probed["warm"]) / (tests - WARM)
    return Run(
        tests,
        process.seconds,
        process.began + process.seconds - probed["last_test_ended"],
        probed["memory"],
        growth,
        statistics.median(chain.from_iterable(map(overheads, phases.values()))),
        {kind: _median_of_all_phases(of_kind) for kind, of_kind in phases.items()},
    )


def run_between_few(repository: Repository, tests: int) -> tuple[Run, float]:
    """Run so many tests; return how many times the overhead of a few they have, too.

    The few run right before and right after, as the speed of a machine changes within minutes.
    """
    before, run, after = (run_tests(repository, size) for size in (TYPICAL, tests, TYPICAL))
    return run, run.overhead / statistics.mean([before.overhead, after.overhead])


def _median_of_all_phases(seconds: dict[str, Sequence[float]]) -> float:
    return statistics.median(map(sum, zip(*seconds.values())))


def run_one_test(repository: Repository) -> float:
    """Return the seconds of a run of one test, from prompt to prompt."""
    suite = repository.rival.suite
    repository.set(tests=5)
    test = "test_empty.py::test_empty[0]" if suite == EMPTY else f"{suite}::test_qos_0[0]"
    return repository.run(test).seconds


def find_leaks(repository: Repository) -> list[str]:
    """Name what of one test is there in the next."""
    repository.run("test_leaks.py")
    return [what for what, is_there in repository.read("leaks.json").items() if is_there]


def count_orphans(repository: Repository) -> int | None:
    """Kill pytest in the midst of a test; count the processes that stay, and end them.

    Return None if the broker was not its to start.
    """
    running: Path = repository.folder / "running"
    with repository.pytest("test_killed.py") as process:
        if not wait_until(running.exists, START_PATIENCE):
            output = "".join(process.output())
            raise CannotRunError(f"no test of {repository.rival.name} has begun:\n{output}")
        process.kill()  # it alone, and not its group as at the end of the block
        if not process.ends_within(START_PATIENCE):
            raise CannotRunError(f"the pytest of {repository.rival.name} was killed, and lives")
    stayed = repository.end_what_stays(ORPHAN_PATIENCE)
    return None if repository.rival.takes_a_broker else len(stayed)
