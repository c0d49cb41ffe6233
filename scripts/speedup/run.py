"""One side's run: what became of its tests, and of the process that ran them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.commands import CannotRunError

from .probe import MARK
from .seen import Seen

SWITCH = "CAMERA_DETECTOR_FIXTURE"

TAIL_LINES = 15

NO_TESTS = 5
"""pytest's exit status where it has collected nothing."""


class Side(NamedTuple):
    """One of the two sides of the comparison."""

    name: str
    fixture: str


BEFORE = Side("before", "original fixture")
AFTER = Side("after", "fast fixture")


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
    uncollected: list[str] = field(default_factory=list)
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
    first_test_began: float = 0.0
    seen: Seen = field(default_factory=Seen)

    def take(self, news: dict[str, Any], seconds: float) -> None:
        """Take in what the probe tells, so many *seconds* after the start."""
        for name, value in news.items():
            if name == "test":
                self.tests.append(Timing(**value))
                self.last_test_ended = seconds
            elif name == "uncollected":
                self.uncollected.append(value)
            elif name in ("connections", "brokers"):
                setattr(self, name, getattr(self, name) + value)
            elif not self.seen.take(name, value):
                setattr(self, name, value)
        if self.running and not self.first_test_began:
            self.first_test_began = seconds

    def read_output(self, stdout: str, stderr: str) -> None:
        """Take in what pytest printed, and set apart what came after the last test."""
        self.output = "".join([stdout, stderr]).replace(MARK, "")
        late = [text.partition(MARK)[2] for text in (stderr, stdout)]
        self.noise = [line for text in late for line in text.splitlines() if line.strip()]

    @property
    def sampled(self) -> bool:
        """Say whether only some of the tests have run."""
        return len(self.tests) < self.collected

    def others(self, names: set[str]) -> list[str]:
        """Return the tests that have run and are not among these *names*."""
        return [test.nodeid for test in self.tests if test.nodeid not in names]

    @property
    def unit(self) -> str:
        """What is counted as it runs: its tests, or those of them that are its sample."""
        return f"tests (of {self.collected})" if self.planned < self.collected else "tests"

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
        lines = [f"{self.side.name}: not collected: {what}" for what in self.uncollected]
        lines += [
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
