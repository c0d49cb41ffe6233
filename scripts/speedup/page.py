"""The comparison as a page for a browser: one file, which asks for nothing from anywhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from shared.formatting import counted, duration, factor, shortened

from . import charts, colours
from .comparison import Comparison, ratio
from .picture import headline
from .report import notes, rows
from .run import Run, Timing
from .seconds import by_kind, by_line, by_part
from .seen import COUNTED, Thing

PARTS = Path(__file__).with_name("page_parts")

PROBLEMS_SHOWN, LINES_SHOWN, LEAVERS_SHOWN, NAMES_SHOWN = 50, 10, 20, 3

CONTENTS = {
    "totals": "Totals",
    "overhead": "Overhead",
    "tests": "Each test",
    "waits": "Waits",
    "run": "Over the run",
    "left": "Left behind",
}


def page(comparison: Comparison, description: dict[str, Any], name: str) -> str:
    """Return the page about the tests of the repository *name*."""
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    before, after = comparison.before, comparison.after
    return environment.get_template("page.html.j2").render(
        colours=colours,
        variables=_variables,
        breakable=_breakable,
        name=name,
        headline=headline(comparison),
        contents=CONTENTS.items(),
        before=before,
        after=after,
        facts=list(_facts(comparison)),
        problems=list(_problems(comparison)),
        totals=[(*row, "")[:4] for row in rows(comparison)],
        parts=list(_parts(before, after)),
        overheads=_overheads(comparison),
        sides=[_side(run) for run in (before, after)],
        over_the_run=charts.over_the_run(comparison),
        counts=list(_counts(before, after)),
        notes=list(notes(comparison, description, with_problems=False)),
    )


def _variables(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())


def _breakable(text: str) -> Markup:
    """Let a line end in a path, and before the name of a test."""
    return Markup("<wbr>").join(re.split(r"(?<=/)|(?=::)", shortened(text)))


def _problems(comparison: Comparison) -> Iterator[str]:
    """Yield what is wrong, as far as it is read: the terminal and --json have all of it."""
    problems = comparison.problems()
    yield from problems[:PROBLEMS_SHOWN]
    if len(problems) > PROBLEMS_SHOWN:
        yield f"... and {len(problems) - PROBLEMS_SHOWN:,} more, which the terminal has shown."


def _facts(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield what matters most."""
    labels = ("overhead per test, median", "whole run", "last test to exit")
    yield from (row[:3] for row in rows(comparison) if row[0] in labels)
    runs = comparison.before, comparison.after
    yield ("left behind", *map(_left_in_all, runs))


def _parts(before: Run, after: Run) -> Iterator[Sequence[str]]:
    seconds = by_part(before), by_part(after)
    parts = [(part, seconds[0][part], seconds[1][part]) for part in seconds[0]]
    for part, then, now in [*parts, ("in all, as measured", before.seconds, after.seconds)]:
        yield part, duration(then), duration(now), factor(ratio(then, now))


def _overheads(comparison: Comparison) -> dict[str, Any]:
    pairs = sorted(comparison.pairs, key=lambda pair: -pair.before.overhead)
    shown, rest = pairs[: charts.SHOWN], pairs[charts.SHOWN :]
    figures = [(p.before.nodeid, p.before.overhead, p.after.overhead) for p in shown]
    if rest:
        before, after = (sum(test.overhead for test in side) for side in zip(*rest))
        figures.append((f"the other {len(rest):,} together", before, after))
    return {
        "chart": charts.overheads(comparison),
        "note": _rest(len(shown), len(rest)),
        "rows": [
            (name, duration(before), duration(after), factor(ratio(before, after)))
            for name, before, after in figures
        ],
    }


def _side(run: Run) -> dict[str, Any]:
    shown = charts.slowest(run.tests)
    rest = len(run.tests) - len(shown)
    left = run.seen.left_behind()
    return {
        "name": run.side.name,
        "longest": duration(shown[0].total),
        "phases": charts.phases(run),
        "note": _rest(len(shown), rest),
        "tests": [*map(_test, shown), *_others(run.tests, shown)],
        "seconds": duration(run.seconds),
        "waits": charts.waits(run),
        "kinds": [(kind, duration(seconds)) for kind, seconds in by_kind(run).items()],
        "lines": [
            (line.place, line.kind, duration(line.seconds), str(line.tests))
            for line in by_line(run)[:LINES_SHOWN]
        ],
        "left": {"total": _left_in_all(run), "rows": list(_left(left, run))},
        "shared": _shared(run),
    }


def _rest(shown: int, rest: int) -> str:
    if not rest:
        return ""
    return f"Shown are the slowest {shown}. The other {rest:,} are summed up in the table."


def _test(test: Timing) -> Sequence[str]:
    return [test.nodeid, *map(duration, (test.setup, test.call, test.teardown)), test.outcome]


def _others(tests: Sequence[Timing], shown: Sequence[Timing]) -> Iterator[Sequence[str]]:
    rest = [test for test in tests if test not in shown]
    if rest:
        phases = zip(*((test.setup, test.call, test.teardown) for test in rest))
        yield [f"the other {len(rest):,} together", *(duration(sum(phase)) for phase in phases), ""]


def _counts(before: Run, after: Run) -> Iterator[Sequence[str]]:
    for what in COUNTED:
        for run in (before, after):
            counts = run.seen.counts(what)
            figures = (counts[0], max(counts), counts[-1]) if counts else ()
            yield f"{what}, {run.side.name}", *(f"{figure:,}" for figure in figures)


def _left_in_all(run: Run) -> str:
    left = run.seen.left_behind()
    if not left:
        return "nothing"
    tests = len(left.keys() & {test.nodeid for test in run.tests})
    leavers = {"test": tests, "fixture": len(left) - tests}
    by = " and ".join(counted(number, noun) for noun, number in leavers.items() if number)
    return f"{counted(sum(map(len, left.values())), 'thing')} by {by}"


def _left(left: dict[str, list[Thing]], run: Run) -> Iterator[Sequence[str]]:
    """Yield who has left what behind, those first that have left most."""
    stayed = {thing.identity for thing in run.seen.stayed}
    leavers = sorted(left.items(), key=lambda item: -len(item[1]))
    for by, things in leavers[:LEAVERS_SHOWN]:
        yield by, _named(things), _ends(things, stayed)
    others = [thing for _, things in leavers[LEAVERS_SHOWN:] for thing in things]
    if others:
        rest = f"the other {len(leavers) - LEAVERS_SHOWN:,} together"
        yield rest, _counted(others), _ends(others, stayed)


def _ends(things: Sequence[Thing], stayed: set[tuple[str, int, int]]) -> str:
    still = sum(thing.identity in stayed for thing in things)
    if still == len(things):
        return "still there"
    return f"{still} still there" if still else "gone"


def _counted(things: Sequence[Thing]) -> str:
    kinds = Counter(thing.kind for thing in things)
    return ", ".join(counted(number, kind) for kind, number in kinds.items())


def _named(things: Sequence[Thing]) -> str:
    texts = []
    for kind, number in Counter(thing.kind for thing in things).items():
        names = [shortened(thing.name) for thing in things if thing.kind == kind]
        more = ", ..." if number > NAMES_SHOWN else ""
        texts.append(f"{counted(number, kind)} ({', '.join(names[:NAMES_SHOWN])}{more})")
    return ", ".join(texts)


def _shared(run: Run) -> str:
    shared = run.seen.shared()
    return "; ".join(f"{_counted(things)} by {fixture}" for fixture, things in shared.items())
