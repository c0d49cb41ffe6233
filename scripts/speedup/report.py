"""The comparison in words: a table and notes for people, and everything for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from shared.formatting import counted, duration, factor
from shared.machine import circumstances, in_words, mosquitto_version
from shared.tables import figures_table

from .comparison import Comparison, ratio
from .run import Run

LINES_SHOWN = 5
"""How many of the lines that a side printed after its last test are shown."""


def table(comparison: Comparison) -> Table:
    """Return the figures of both sides."""
    runs = comparison.before, comparison.after
    sides = (f"{run.side.name}\n{run.side.fixture}" for run in runs)
    figures = figures_table("", *sides, "ratio\n ")
    for row in rows(comparison):
        figures.add_row(*row)
    return figures


def rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield what is compared, in words: a label, before, after, and maybe the ratio."""
    runs = comparison.before, comparison.after
    medians = comparison.median_overheads
    worst = (runs[0].worst_overhead, runs[1].worst_overhead)
    yield ("tests run", *map(_tests_run, runs))
    yield (
        "overhead per test, median",
        *(map(duration, medians) if medians else "--"),
        factor(comparison.speed_up),
    )
    yield ("overhead per test, worst", *map(duration, worst), factor(ratio(*worst)))
    yield ("whole run", *map(_whole_run, runs), factor(comparison.whole_run_speed_up))
    yield ("last test to exit", *map(_exit, runs))
    yield ("MQTT connections opened", *(_count(run.connections, run) for run in runs))
    yield ("brokers started", *(_count(run.brokers, run) for run in runs))
    yield ("errors after the last test", *(_lines(run.noise) for run in runs))
    yield ("tests failed", *(str(sum(test.failed for test in run.tests)) for run in runs))


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
    return counted(len(noise), "line") if noise else "none"


def notes(
    comparison: Comparison, description: dict[str, Any], *, with_problems: bool = True
) -> Iterator[str]:
    """Say how to read the table, what is wrong, and what the figures were taken on."""
    runs = comparison.before, comparison.after
    for run in runs:
        if run.sampled:
            how = "have run." if run.asked_for is None else "were sampled. --full runs all."
            of_all = f"{len(run.tests)} of {run.collected} tests"
            yield f"~  Extrapolated: {run.side.name}, {of_all} {how}"
    yield (
        "Overhead is set-up plus tear-down. The median is over the tests that both sides ran "
        f"({len(comparison.pairs)}),\nthe worst over all that a side ran."
    )
    for run in runs:
        yield from (f"{run.side.name}, after the last test: {x}" for x in run.noise[:LINES_SHOWN])
    if with_problems:
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
        "seen": run.seen.described() if run.seen.samples else None,
    }
