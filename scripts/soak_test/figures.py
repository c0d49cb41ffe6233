"""Figures, and the goals that they have to meet."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A line of the table: what was measured, and the goal where there is one."""

    what: str
    measured: float
    written: str
    goal: str = ""
    is_met: bool = True
    is_timing: bool = False  # a busy machine may miss it


def told(what: str, measured: float, write: Callable[[Any], str] = "{:,}".format) -> Figure:
    """Tell a figure without a goal."""
    return Figure(what, measured, write(measured))


def exactly(what: str, measured: int, wanted: int) -> Figure:
    """Want a number to be another."""
    return Figure(what, measured, f"{measured:,}", f"{wanted:,}", measured == wanted)


def at_most(
    what: str,
    measured: float,
    limit: float,
    write: Callable[[float], str],
    *,
    is_timing: bool = False,
) -> Figure:
    """Want a number to be no larger than another."""
    goal = f"at most {write(limit)}"
    return Figure(what, measured, write(measured), goal, measured <= limit, is_timing)


def median(seconds: Sequence[float]) -> float:
    """Return the median; of nothing one that meets no goal."""
    return statistics.median(seconds or [math.nan])


@dataclass
class Result:
    """What a part has found, or why it came to nothing."""

    part: str
    figures: list[Figure] = field(default_factory=list)
    seconds: float = 0.0

    def missed(self) -> Iterator[str]:
        """Name the goals that were missed."""
        for figure in self.figures:
            if not figure.is_met:
                yield f"{self.part}: {figure.what}: {figure.written}, not {figure.goal}"


class FailedError(Exception):
    """A part that did not come to its figures, and why."""
