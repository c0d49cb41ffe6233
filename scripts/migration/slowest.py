"""The slowest tests that are left, and what they wait for, so that the next step is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.formatting import duration

if TYPE_CHECKING:
    from .sides import Ran

SHOWN = 10
WORTH_A_LINE = 0.1
"""Seconds; what takes less is none of the time that is left."""


@dataclass(frozen=True)
class Wait:
    """A line of the repository at which a test waits."""

    file: str
    line: int
    kind: str
    seconds: float


@dataclass(frozen=True)
class Slow:
    """A slow test."""

    nodeid: str
    seconds: float
    waits: list[Wait]


def slowest(side: Ran) -> list[Slow]:
    """Return the slowest tests of a side, the slowest first."""
    places = {told.nodeid: told.places for told in side.told.waits}
    tests = sorted(side.run.tests, key=lambda test: -test.total)[:SHOWN]
    return [
        Slow(test.nodeid, round(test.total, 3), [Wait(*at) for at in places.get(test.nodeid, ())])
        for test in tests
        if test.total >= WORTH_A_LINE
    ]


def in_words(tests: Sequence[Slow]) -> Iterator[str]:
    """Write a line for each test, and one for each place at which it waits."""
    if tests:
        yield "The slowest tests that are left, and where they spend it:"
    for test in tests:
        yield f"    {duration(test.seconds):>8}  {test.nodeid}"
        for wait in test.waits:
            yield f"    {'':8}      {duration(wait.seconds)} {wait.kind}, {wait.file}:{wait.line}"
