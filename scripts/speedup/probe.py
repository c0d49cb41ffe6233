"""The pytest plugin that tells its parent what the tests do and how long it takes.

A copy of this file is loaded by the Python that runs the tests. It needs nothing else, but for a
closer look the package mqtt_testing_probes beside it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

ORDERS = "VERIFY_SPEEDUP_ORDERS"
"""The environment variable that has what the probe is to do, as JSON."""

PACKAGES = {"pytest": "pytest", "paho-mqtt": "paho", "aiomqtt": "aiomqtt"}
"""Packages, and the module of each that tests have imported if they use it."""

PHASES = ("setup", "call", "teardown")

MARK = "--- verify_speedup: what follows comes after the last test ---"
"""What is written to both outputs after the last test."""


class Probe:
    """The plugin: tells the parent what happens, as news of the fields of a Run."""

    def __init__(self, pipe: str, tests: int | None, seconds: float) -> None:
        self._pipe = os.open(pipe, os.O_WRONLY)
        self._pid = os.getpid()
        self._tests = tests
        self._seconds = seconds
        self._stop_at = math.inf
        self._session: Any = None
        self._left = 0
        self._longest = 0.0
        self._phases: dict[str, dict[str, Any]] = {}
        self._counted: set[type] = set()
        self._clients: WeakValueDictionary[int, Any] = WeakValueDictionary()
        with contextlib.suppress(ImportError):
            importlib.import_module("paho.mqtt.client")
        self._count_connections()
        sys.addaudithook(self._count_brokers)

    def pytest_configure(self, config: Any) -> None:
        """Keep what the other hooks need."""
        self._config = config
        # Of pytest-xdist: the process that it reports to is probed too.
        self._is_worker = hasattr(config, "workerinput")

    def pytest_collection_finish(self, session: Any) -> None:
        """Tell what was collected, and leave of it what is to be run."""
        collected = len(session.items)
        if self._tests is not None and not self._is_worker:
            # By their place in the files: a random order would make it another sample each time.
            chosen = set(spread(sorted(session.items, key=_place), self._tests))
            session.items[:] = [item for item in session.items if item in chosen]
        self._session, self._left = session, len(session.items)
        self.tell(collected=collected, planned=self._left)
        self.tell(versions=installed_versions(), parallel=self._is_worker)
        self._stop_at = time.perf_counter() + self._seconds

    def pytest_collectreport(self, report: Any) -> None:
        """Tell what was not collected: pytest may be told to go on all the same."""
        if report.failed and not self._is_worker:
            self.tell(uncollected=f"{report.nodeid}: {_reason(report)}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell what is about to run; the test before may have imported another paho."""
        self._count_connections()
        if not self._is_worker:
            self.tell(running=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Gather what became of a test, and tell it when the test is torn down."""
        if self._is_worker:
            return
        phases = self._phases.setdefault(report.nodeid, {"outcome": "passed", "reason": ""})
        if report.when in PHASES:
            phases[report.when] = report.duration
        status = self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        phases["outcome"] = status[0] or phases["outcome"]
        if report.failed:
            phases["reason"] = _reason(report)
        # The last, or none of them: that of pytest-xdist for a test in which its worker has died.
        if report.when not in PHASES[:-1]:
            del self._phases[report.nodeid]
            if phases["outcome"] != "rerun":  # by pytest-rerunfailures: it begins once more
                self._end_test({"nodeid": report.nodeid, **phases})

    def _end_test(self, test: dict[str, Any]) -> None:
        test = {**dict.fromkeys(PHASES, 0.0), **test}
        self.tell(test=test)
        self._left -= 1
        self._longest = max(self._longest, test["setup"] + test["call"] + test["teardown"])
        # In order, so that all is torn down, and before a test that would end too late.
        if self._left > 0 and time.perf_counter() + self._longest > self._stop_at:
            self.tell(stopped=True)
            self._session.shouldstop = "the time for the sample is over"

    def pytest_sessionfinish(self) -> None:
        """Mark the place on stderr: pytest itself writes nothing there any more."""
        if not self._is_worker:
            print(MARK, file=sys.__stderr__, flush=True)
            self.tell(finished=True)

    def pytest_unconfigure(self) -> None:
        """Mark the place on stdout, after pytest's summary."""
        if not self._is_worker:
            print(MARK, file=sys.__stdout__, flush=True)

    def _count_connections(self) -> None:
        """Wrap the method of paho's clients that all their connections go through."""
        client_class: Any = getattr(sys.modules.get("paho.mqtt.client"), "Client", None)
        if not isinstance(client_class, type) or client_class in self._counted:
            return  # no paho, a mock of it, or the one we know
        self._counted.add(client_class)
        reconnect = client_class.reconnect  # type: ignore[attr-defined]

        @functools.wraps(reconnect)
        def counting_reconnect(client: Any) -> Any:
            result = reconnect(client)
            self.tell(connections=1)
            self._clients[id(client)] = client
            return result

        client_class.reconnect = counting_reconnect  # type: ignore[attr-defined]

    def clients(self) -> list[Any]:
        """Return the clients of paho that have connected and are still there."""
        # A list of references is made in one go, whatever other threads connect meanwhile.
        clients = [reference() for reference in self._clients.valuerefs()]
        return [client for client in clients if client is not None]

    def _count_brokers(self, event: str, args: tuple[Any, ...]) -> None:
        """Watch what is started, as an audit hook: it comes before all else, and stays."""
        if event != "subprocess.Popen":
            return
        executable, arguments = os.fsdecode(args[0]), args[1]
        if Path(executable).name == "mosquitto" and "-h" not in arguments:  # or it is just asked
            self.tell(brokers=1, mosquitto=executable)

    def tell(self, **news: Any) -> None:
        """Tell the parent something, as news of the fields of a Run."""
        if os.getpid() != self._pid:
            return  # a fork, where this number may be another file's by now
        # In one go, which keeps the lines of several threads and processes apart.
        text = json.dumps(news, ensure_ascii=False)
        # A name may have halves of characters, which no file takes and no terminal shows.
        os.write(self._pipe, text.encode(errors="replace") + b"\n")


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return *count* of *items*, the first of them and the others at even distances."""
    if count >= len(items):
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]


def installed_versions() -> dict[str, str]:
    """Return the versions of what this process runs tests with."""
    versions = {"python": platform.python_version()}
    for package in (name for name, module in PACKAGES.items() if module in sys.modules):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _place(item: Any) -> tuple[str, int, str]:
    file, line, _ = item.location
    return file, line or 0, item.nodeid


def _reason(report: Any) -> str:
    """Return the first line of what went wrong, where pytest knows it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", report.longrepr)).strip().partition("\n")[0]


def pytest_addhooks(pluginmanager: Any) -> None:
    """Begin: pytest calls this as it imports the plugin, before any conftest.py."""
    orders = json.loads(os.environ[ORDERS])
    look_into = orders.pop("look_into")
    probe = Probe(**orders)
    pluginmanager.register(probe)
    if look_into is not None:
        from mqtt_testing_probes.look import Look

        pluginmanager.register(Look(look_into, probe.tell, probe.clients))
