"""Both sides next to each other: what became faster, and what differs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import NamedTuple

from .run import SWITCH, Run, Timing
from .running import PATIENCE

WORTH_IT = 1.5
"""A speed-up below this is more likely an override that did not take."""


def ratio(before: float, after: float) -> float | None:
    """Return how many times less it has become; None where a stopped clock has measured nothing."""
    return before / after if after else None


class Pair(NamedTuple):
    """A test, before and after."""

    before: Timing
    after: Timing


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what follows from them."""

    before: Run
    after: Run

    @property
    def pairs(self) -> list[Pair]:
        """The tests that both sides ran, before and after."""
        after = {test.nodeid: test for test in self.after.tests}
        return [Pair(t, after[t.nodeid]) for t in self.before.tests if t.nodeid in after]

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
        return ratio(*medians) if medians else None

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
        lines += [f"differs: {name}: not run after" for name in self.before.others(common)]
        if not self.before.sampled:
            lines += [f"differs: {name}: not run before" for name in self.after.others(common)]
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
                "Both sides take about as long, or after takes longer: was any fixture replaced? "
                f"The after side runs without {SWITCH}=original in its environment, the before "
                "side with it."
            )
        lines += [
            line for line in self.after.output.splitlines() if "nothing was overridden" in line
        ]
        return lines
