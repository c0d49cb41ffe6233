"""The command line of ``rivals``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.commands import CannotRunError, count, exit_status_of, file_to_write, write
from shared.formatting import counted
from shared.machine import circumstances, in_words
from shared.modules import BrokerError, find_mosquitto, mosquitto_version
from shared.progress import Progress

from .installed import FOLDER, docker_answers, python_for, versions_of
from .measuring import (
    ORPHAN_PATIENCE,
    TYPICAL,
    Result,
    count_orphans,
    find_leaks,
    run_between_few,
    run_one_test,
    run_tests,
)
from .report import tables
from .rivals import RIVALS, Rival
from .workspace import Repository

DESCRIPTION = "Run the same tests with what people use instead, and show what each takes."

SIZES = (5, 50, 500, 5000)

LIMIT = 60.0
"""Seconds that a run may be expected to take, by how long a smaller one took."""

LIMIT_AGAIN = 15.0
"""The same for the rounds after the first: so all of it is over in ten minutes."""


class Contest:
    """The rivals in their repositories, and what was found of them."""

    def __init__(self, rivals: Sequence[Rival], folder: Path, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._progress = Progress()
        has_docker = any(rival.takes_docker for rival in rivals) and docker_answers()
        takes_part = [rival for rival in rivals if has_docker or not rival.takes_docker]
        self.python = python_for(takes_part)
        self.versions = versions_of(self.python, takes_part)
        self.results = [_result(rival, rival in takes_part) for rival in rivals]
        self._there = [
            (Repository(folder, result.rival, self.python), result)
            for result in self.results
            if result.rival in takes_part
        ]

    def hold(self, rounds: int) -> None:
        """Do everything, and end what runs have started if it is cut short."""
        try:
            for repository, result in self._each("what they leave"):
                if result.rival.has_broker:
                    result.leaks = find_leaks(repository)
                    result.orphans = count_orphans(repository)
            for number in range(rounds):
                limit = LIMIT_AGAIN if number else LIMIT
                self._hold_round(f"round {number + 1} of {rounds}", limit)
        finally:
            self._progress.clear()
            for repository, _ in self._there:
                repository.end_what_stays(ORPHAN_PATIENCE)  # guardians remove folders meanwhile

    def _hold_round(self, name: str, limit: float) -> None:
        for repository, result in self._each(f"{name}, one test"):
            result.first.append(run_one_test(repository))
        for tests in self._sizes:
            for repository, result in self._each(f"{name}, {tests:,} tests"):
                if _expected_seconds(result, tests) <= limit:
                    self._run(repository, result, tests)

    def _run(self, repository: Repository, result: Result, tests: int) -> None:
        if TYPICAL < tests == self._sizes[-1]:
            run, growth = run_between_few(repository, tests)
            result.growths.append(growth)
        else:
            run = run_tests(repository, tests)
        result.runs.setdefault(tests, []).append(run)

    def _each(self, step: str) -> Iterator[tuple[Repository, Result]]:
        for done, (repository, result) in enumerate(self._there):
            detail = result.rival.name
            self._progress.show(step, done, len(self._there), "rivals", detail)
            yield repository, result


def _expected_seconds(result: Result, tests: int) -> float:
    """Return what the largest smaller run makes of it; nothing before there was one."""
    smaller = [size for size in result.runs if size < tests]
    if not smaller:
        return 0.0
    of_one = result.first[-1]
    size, seconds = max(smaller), result.runs[max(smaller)][-1].seconds
    return of_one + max(0.0, seconds - of_one) / (size - 1) * (tests - 1)


def _result(rival: Rival, takes_part: bool) -> Result:
    why = "" if takes_part else " (no Docker engine)"
    return Result(rival, rival.title + why, rival.lines())


def report(options: argparse.Namespace) -> int:
    """Do it, show and write what came of it, and return the exit status."""
    if not Path("/proc/self/environ").exists():
        raise CannotRunError("there is no /proc to see processes and memory in: run it on Linux")
    rivals = [rival for rival in RIVALS if rival.name in options.only]
    sizes = sorted(set(options.tests))
    load = os.getloadavg()[0]
    mosquitto = mosquitto_version(find_mosquitto()) or "unknown"
    with tempfile.TemporaryDirectory(prefix="mqtt-rivals-") as folder:
        contest = Contest(rivals, Path(folder), sizes)
        contest.hold(options.rounds)
    conditions = circumstances({**contest.versions, "mosquitto": mosquitto})
    print("\n\n".join(tables(contest.results, sizes)))
    rounds = counted(options.rounds, "round")
    print(f"\n{in_words(conditions)}; {rounds}; load {load:.1f} at the start")
    conditions.update(
        load_at_start=load,
        rounds=options.rounds,
        rivals=[result.as_json() for result in contest.results],
    )
    write(options.json, lambda: json.dumps(conditions, indent=2) + "\n")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    names = [rival.name for rival in RIVALS]
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these rivals")
    parser.add_argument("--rounds", type=count, default=3, help="of which medians are taken")
    parser.add_argument("--tests", type=count, nargs="+", default=SIZES, help="of a run")
    parser.add_argument(
        "--json",
        type=file_to_write,
        metavar="FILE",
        default=FOLDER / "figures.json",
        help="all figures",
    )
    options = parser.parse_args(sys.argv[1:] if words is None else words)
    return exit_status_of("rivals", lambda: report(options), BrokerError)
