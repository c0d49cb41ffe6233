"""A pytest plugin that tells its parent what pytest collects, and what becomes of the tests.

A copy of this file is loaded by the Python that runs the user's tests, so it needs nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

REPORT = "MQTT_MIGRATION_REPORT"
WATCHED = ("camera_detector", "fix_concurrent_futures", "prompt_mqtt_clients")


def _tell(**news: Any) -> None:
    with Path(os.environ[REPORT]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(news) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Tell how pytest is set up, and have it say what is wrong, whatever its settings are."""
    config.option.no_summary = False
    config.option.tbstyle = "short"
    _tell(import_mode=config.getoption("importmode"), rootdir=str(config.rootpath))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell what was collected, and where the fixtures of each test come from."""
    _tell(
        path=[os.path.realpath(folder) for folder in sys.path if folder],
        tests=[
            {
                "nodeid": item.nodeid,
                "is_skipped": any(item.iter_markers("skip")) or any(item.iter_markers("skipif")),
                "fixtures": {name: d.func.__module__ for name, d in _watched_fixtures(item)},
                "of_plugins": dict(_fixtures_of_plugins(item)),
            }
            for item in getattr(session, "items", ())
        ],
    )


def _watched_fixtures(item: Any) -> Iterator[tuple[str, Any]]:
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for name in WATCHED:
        if definitions.get(name):
            yield name, definitions[name][-1]


def _fixtures_of_plugins(item: Any) -> Iterator[tuple[str, str]]:
    """Yield the fixtures that come from a plugin, with the names of the functions."""
    plugins = [p for p in item.config.pluginmanager.get_plugins() if not _is_conftest(p)]
    for name, definition in _watched_fixtures(item):
        function = definition.func
        is_of_its_top_level = function.__qualname__.isidentifier()
        if is_of_its_top_level and sys.modules.get(function.__module__) in plugins:
            yield name, function.__name__


def _is_conftest(plugin: Any) -> bool:
    return Path(getattr(plugin, "__file__", None) or "").name == "conftest.py"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell what became of a phase of a test."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(getattr(crash, "message", report.longrepr or "")).strip()
    first = text.partition("\n")[0]
    reason = text if first.endswith(":") else first
    _tell(phase=report.when, outcome=report.outcome, reason=reason)
