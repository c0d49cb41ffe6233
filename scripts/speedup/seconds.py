"""Where the seconds of a run go: to which part of it, to which kind of wait, to which line."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from .run import Run

START, ELSEWHERE, EXIT = "start and collection", "pytest and packages", "exit"


class Line(NamedTuple):
    """A line of the repository at which tests wait."""

    place: str
    kind: str
    seconds: float
    tests: int


def by_part(run: Run) -> dict[str, float]:
    """Return the seconds of each part of a run; those of its tests are sums over all workers."""
    of_tests = {
        "set-up": sum(test.setup for test in run.tests),
        "body": sum(test.call for test in run.tests),
        "tear-down": sum(test.teardown for test in run.tests),
    }
    between = run.last_test_ended - run.first_test_began - sum(of_tests.values())
    return {
        START: run.first_test_began,
        **of_tests,
        "between tests": max(0.0, between),
        EXIT: run.exit_seconds,
    }


def by_kind(run: Run) -> dict[str, float]:
    """Return the seconds of a run by what they are spent on, most first."""
    parts = by_part(run)
    kinds: defaultdict[str, float] = defaultdict(float)
    for line in by_line(run):
        kinds[line.kind] += line.seconds
    elsewhere = sum(parts.values()) - parts[START] - parts[EXIT] - sum(kinds.values())
    kinds.update({START: parts[START], ELSEWHERE: max(0.0, elsewhere), EXIT: parts[EXIT]})
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def by_line(run: Run) -> list[Line]:
    """Return the lines of the repository at which tests wait, the longest first."""
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    tests: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for wait in run.seen.waits:
        if wait.test:
            at = f"{wait.file}:{wait.line}", wait.kind
            seconds[at] += wait.seconds
            tests[at].add(wait.test)
    lines = [Line(*at, spent, len(tests[at])) for at, spent in seconds.items()]
    return sorted(lines, key=lambda line: -line.seconds)
