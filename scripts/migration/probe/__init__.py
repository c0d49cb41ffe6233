"""A pytest plugin that tells its parent what is collected, what becomes of it, and what waits.

A copy of this folder, beside one of mqtt_testing_probes, is loaded by the Python that runs the
user's tests, so it needs nothing else.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mqtt_testing_probes.waiting import GRACE, Watch

if TYPE_CHECKING:
    import pytest

ORDERS = "MQTT_MIGRATION_ORDERS"
"""The environment variable that has what the probe is to do, as JSON."""

__all__ = ["GRACE", "ORDERS"]

_ERROR = re.compile(r"[A-Z][\w.]*: |[a-z][\w.]*\.[A-Z]\w*: ")

CANDIDATES = 3
"""Tests that are run to see the fixtures set up that were asked for, if the first does not."""


class Probe:
    """The plugin."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._report = Path(orders["report"])
        self._watched: dict[str, str] = orders["watched"]
        """The fixtures that matter, and the end of the name of the module that they come from."""
        self._proves: str = orders["proves"]
        """The fixture that a test is to be run for; empty if all tests are."""
        self._watch = Watch(Path(orders["root"]), orders["timeout"], self._tell)
        self._session: Any = None
        self._used: set[str] = set()
        self._addresses: set[tuple[str, int]] = set()
        sys.addaudithook(self._note_connection)

    def _note_connection(self, event: str, args: tuple[Any, ...]) -> None:
        """Tell which addresses are asked for (an audit hook: no mock keeps it from that)."""
        if event == "socket.connect":
            address = args[1]
        elif event == "socket.getaddrinfo":
            address = args[:2]
        else:
            return
        if not isinstance(address, tuple) or not isinstance(address[1], int):
            return
        host = address[0].decode() if isinstance(address[0], bytes) else str(address[0])
        if address[1] and (host, address[1]) not in self._addresses:
            self._addresses.add((host, address[1]))
            self._tell(address=[host, address[1]])

    def _tell(self, **news: Any) -> None:
        with self._report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(news) + "\n")

    def pytest_configure(self, config: pytest.Config) -> None:
        """Tell how pytest is set up, and have it say what is wrong, whatever its settings are."""
        config.option.no_summary = False
        config.option.tbstyle = "short"
        if getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
            self._watch.end()  # what it waits for is its workers
        self._tell(import_mode=config.getoption("importmode"), rootdir=str(config.rootpath))

    # --- Collection ---------------------------------------------------------------------------

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """Note what is imported next."""
        self._watch.begin(collector.nodeid or "the folder of tests")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell how far it is, and which file cannot be collected."""
        self._tell(collecting=report.nodeid)
        if report.failed:
            self._tell(error={"path": report.nodeid, "reason": _reason_of(report)})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell what was collected, and where the fixtures come from; leave what is to be run."""
        self._session = session
        items = list(getattr(session, "items", ()))
        self._tell(
            path=[os.path.realpath(folder) for folder in sys.path if folder],
            tests=[self._described(item) for item in items],
        )
        if self._proves:
            session.items[:] = sorted(filter(self._asks, items), key=self._rank)[:CANDIDATES]

    def _described(self, item: Any) -> dict[str, Any]:
        return {
            "nodeid": item.nodeid,
            "is_skipped": _is_skipped(item),
            "fixtures": {name: d.func.__module__ for name, d in self._fixtures(item)},
            "of_plugins": dict(self._fixtures_of_plugins(item)),
        }

    def _fixtures(self, item: Any) -> Iterator[tuple[str, Any]]:
        definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
        for name in self._watched:
            if definitions.get(name):
                yield name, definitions[name][-1]

    def _fixtures_of_plugins(self, item: Any) -> Iterator[tuple[str, str]]:
        """Yield the fixtures that come from a plugin, with the names of the functions."""
        plugins = [p for p in item.config.pluginmanager.get_plugins() if not _is_conftest(p)]
        for name, definition in self._fixtures(item):
            function = definition.func
            is_of_its_top_level = function.__qualname__.isidentifier()
            if is_of_its_top_level and sys.modules.get(function.__module__) in plugins:
                yield name, function.__name__

    def _asks(self, item: Any) -> bool:
        return any(name == self._proves for name, _ in self._fixtures(item))

    def _rank(self, item: Any) -> tuple[bool, bool]:
        """Order tests: those first that get what was wired, and are not skipped."""
        found = [d for name, d in self._fixtures(item) if name == self._proves]
        gets_it = any(self._is_ours(self._proves, definition) for definition in found)
        return not gets_it, _is_skipped(item)

    def _is_ours(self, name: str, definition: Any) -> bool:
        module, _, function = self._watched[name].partition(":")
        if function and getattr(definition.func, "__qualname__", "") != function:
            return False
        return not module or f".{definition.func.__module__}".endswith(f".{module}")

    # --- Tests --------------------------------------------------------------------------------

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Tell of a fixture that was set up, and has given something: a test has used it."""
        if call.when == "teardown" or call.excinfo is not None:
            return
        asked_for = dict(self._fixtures(item))
        active = getattr(getattr(item, "_request", None), "_fixture_defs", {})
        for name, definition in {**asked_for, **active}.items():
            result = getattr(definition, "cached_result", None)
            if name in self._watched and result and result[2] is None and name not in self._used:
                self._used.add(name)
                self._tell(used=name, ours=self._is_ours(name, definition))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note what runs."""
        self._watch.begin(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell what became of a phase of a test."""
        crash = getattr(report.longrepr, "reprcrash", None)
        text = str(getattr(crash, "message", report.longrepr or "")).strip()
        first = text.partition("\n")[0]
        reason = text if first.endswith(":") else first
        self._tell(nodeid=report.nodeid, phase=report.when, outcome=report.outcome, reason=reason)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tell where the test has waited; one that has set up what was asked for is enough."""
        waits = self._watch.begin("what comes between two tests")
        if waits:
            self._tell(waited=nodeid, at=waits)
        if self._proves in self._used and self._session is not None:
            self._session.shouldstop = "a test has shown what it was run for"

    def pytest_sessionfinish(self) -> None:
        """Note that what follows is no test."""
        self._watch.begin("pytest, at its end")

    def pytest_unconfigure(self) -> None:
        """End."""
        self._watch.end()


def _is_skipped(item: Any) -> bool:
    return any(item.iter_markers("skip")) or any(item.iter_markers("skipif"))


def _is_conftest(plugin: Any) -> bool:
    return Path(getattr(plugin, "__file__", None) or "").name == "conftest.py"


def _reason_of(report: pytest.CollectReport) -> str:
    lines = [line.strip() for line in report.longreprtext.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    named = [line for line in errors if _ERROR.match(line)]
    return (named[:1] or (errors or lines or ["it says nothing"])[-1:])[0]


def pytest_addhooks(pluginmanager: Any) -> None:
    """Begin: pytest calls this as it imports the plugin, before any conftest.py."""
    pluginmanager.register(Probe(json.loads(os.environ[ORDERS])))
