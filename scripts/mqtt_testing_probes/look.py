"""A pytest plugin that tells after each test what is alive, what is left of it, and what waited."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from .census import Alive, Census, open_descriptors
from .waiting import Watch

BROKER = "mosquitto"

OUTSIDE = ""
"""The name of what is no test."""

A_MOMENT = 0.2
"""Seconds that what has been told to end gets for that when the run is over."""

POLL_INTERVAL = 0.01

_clock, _sleep = time.perf_counter, time.sleep  # tests replace the names


class Look:
    """The plugin: *tell* takes what it sees, and *clients* gives the MQTT clients there were."""

    def __init__(
        self, root: str, tell: Callable[..., None], clients: Callable[[], Iterable[Any]]
    ) -> None:
        self._tell = tell
        self._census = Census(clients)
        self._watch = Watch(Path(root), math.inf, tell)
        self._makers: dict[Alive, str] = {}
        """What was alive when last looked at, and who has made it."""

        self._test = OUTSIDE
        self._seconds = 0.0

    def pytest_configure(self, config: pytest.Config) -> None:
        """Leave it to the workers where there are some."""
        if getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
            self._watch.end()
            config.pluginmanager.unregister(self)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note what is there already."""
        self._take_census(OUTSIDE)
        self._turn_to(nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, None, None]:
        """Note what a fixture for several tests sets up: none of these tests leaves it behind."""
        if fixturedef.scope == "function":
            yield
            return
        self._take_census(self._test)
        yield
        self._take_census(_described(fixturedef))

    def pytest_fixture_post_finalizer(self, fixturedef: Any) -> None:
        """Tell what a fixture for several tests has ended: that was for all of them, too."""
        if fixturedef.scope == "function":
            return
        before = set(self._makers)
        ended = before - self._take_census(self._test)
        self._tell_things("ended", ended, by=_described(fixturedef))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tell what is alive, and what of it the test has left behind."""
        alive = self._take_census(nodeid)
        kinds = Counter(thing.kind for thing in alive)
        brokers = sum(thing.name == BROKER for thing in alive if thing.kind == "process")
        sample = {
            "process": os.getpid(),
            "connections": kinds["client"],
            "brokers": brokers,
            "threads": kinds["thread"],
            "descriptors": open_descriptors(),
        }
        self._tell(samples=[sample])
        self._tell_things("left", [thing for thing in alive if self._makers[thing] == nodeid])
        self._turn_to(OUTSIDE)

    def pytest_unconfigure(self) -> None:
        """Tell what is still there after all fixtures."""
        until = _clock() + A_MOMENT
        while (made := self._made_by_tests()) and _clock() < until:
            _sleep(POLL_INTERVAL)
        self._tell_things("stayed", made)
        self._turn_to(OUTSIDE)
        self._watch.end()
        self._tell(looked=self._seconds)

    def _made_by_tests(self) -> list[Alive]:
        """Return what is alive, without what was there before the first test."""
        alive = self._take_census(OUTSIDE)
        return [thing for thing in alive if self._makers[thing] != OUTSIDE]

    def _take_census(self, maker: str) -> set[Alive]:
        """Return what is alive, and note who has made what is new."""
        began = _clock()
        alive = self._census.take()
        self._makers = {thing: self._makers.get(thing, maker) for thing in alive}
        self._seconds += _clock() - began
        return alive

    def _tell_things(self, field: str, things: Iterable[Alive], by: str = "") -> None:
        for thing in sorted(things):
            who = by or self._makers[thing]
            self._tell(**{field: [{**thing._asdict(), "process": os.getpid(), "by": who}]})

    def _turn_to(self, test: str) -> None:
        waits = self._watch.turn_to(test)
        for file, line, kind, seconds in waits:
            at = {"test": self._test, "file": file, "line": line, "kind": kind, "seconds": seconds}
            self._tell(waits=[at])
        self._test = test


def _described(fixturedef: Any) -> str:
    return f"{fixturedef.argname} ({fixturedef.scope})"
