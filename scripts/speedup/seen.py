"""What a close look at a run has seen: what was alive after each test, what is left, the waits."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

COUNTED = ("connections", "brokers", "threads", "descriptors")
"""What is counted after each test."""


class Thing(NamedTuple):
    """A thread, a client, a process or a task, and the test or fixture that has made it."""

    kind: str
    number: int
    name: str
    process: int
    by: str

    @property
    def identity(self) -> tuple[str, int, int]:
        """What no other thing has."""
        return self.kind, self.number, self.process


class Wait(NamedTuple):
    """Seconds that a test has spent at a line of the repository, and for what."""

    test: str
    file: str
    line: int
    kind: str
    seconds: float


@dataclass
class Seen:
    """What was told, in the order of the run."""

    samples: list[dict[str, int]] = field(default_factory=list)
    left: list[Thing] = field(default_factory=list)
    """What was alive after the test that has made it."""

    ended: list[Thing] = field(default_factory=list)
    """What a fixture for several tests has ended: *by* is that fixture."""

    stayed: list[Thing] = field(default_factory=list)
    """What was alive at the end of the run."""

    waits: list[Wait] = field(default_factory=list)
    looked: float = 0.0
    """Seconds that looking has taken."""

    def take(self, name: str, value: Any) -> bool:
        """Take in what the probe tells, and return whether it is for us."""
        if name == "samples":
            self.samples += value
        elif name in ("left", "ended", "stayed"):
            getattr(self, name).extend(Thing(**thing) for thing in value)
        elif name == "waits":
            self.waits += [Wait(**wait) for wait in value]
        elif name == "looked":
            self.looked += value
        else:
            return False
        return True

    def counts(self, what: str) -> list[int]:
        """Return how many there were after each test, in all processes that ran tests."""
        latest: dict[int, int] = {}
        counts = []
        for sample in self.samples:
            latest[sample["process"]] = sample[what]
            counts.append(sum(latest.values()))
        return counts

    def left_behind(self) -> dict[str, list[Thing]]:
        """Return what is left, by the test that has left it, or the fixture.

        What a fixture for several tests has ended was left by no test: it was for all of them.
        """
        shared = {thing.identity for thing in self.ended}
        left = {
            thing.identity: thing
            for thing in [*self.left, *self.stayed]
            if thing.identity not in shared
        }
        by = defaultdict(list)
        for thing in left.values():
            by[thing.by].append(thing)
        return dict(by)

    def shared(self) -> dict[str, list[Thing]]:
        """Return what outlived the test that has made it, by the fixture that has ended it."""
        left = {thing.identity for thing in self.left}
        by = defaultdict(list)
        for thing in self.ended:
            if thing.identity in left:
                by[thing.by].append(thing)
        return dict(by)

    def described(self) -> dict[str, Any]:
        """Return everything there is to know, ready for JSON."""
        return {
            "counts": {what: self.counts(what) for what in COUNTED},
            "left_behind": _described(self.left_behind()),
            "shared": _described(self.shared()),
            "stayed": [thing._asdict() for thing in self.stayed],
            "waits": [wait._asdict() for wait in self.waits],
            "seconds_looked": self.looked,
        }


def _described(things_by: dict[str, list[Thing]]) -> dict[str, list[dict[str, Any]]]:
    return {by: [thing._asdict() for thing in things] for by, things in things_by.items()}
