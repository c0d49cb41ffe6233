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
    """Tell how pytest is set up."""
    _tell(import_mode=config.getoption("importmode"), rootdir=str(config.rootpath))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell what was collected, and where the fixtures of each test come from."""
    _tell(
        path=[os.path.realpath(folder) for folder in sys.path if folder],
        tests=[
            {
                "nodeid": item.nodeid,
                "is_skipped": any(item.iter_markers("skip")) or any(item.iter_markers("skipif")),
                "fixtures": dict(_watched_fixtures(item)),
            }
            for item in getattr(session, "items", ())
        ],
    )


def _watched_fixtures(item: Any) -> Iterator[tuple[str, str]]:
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for name in WATCHED:
        if definitions.get(name):
            yield name, definitions[name][-1].func.__module__


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell what became of a phase of a test."""
    crash = getattr(report.longrepr, "reprcrash", None)
    reason = str(getattr(crash, "message", report.longrepr or "")).strip().partition("\n")[0]
    _tell(phase=report.when, outcome=report.outcome, reason=reason)
