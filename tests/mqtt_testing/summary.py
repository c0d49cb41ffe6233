"""Lines for the end of the run, from all rooms and from pytest-xdist's workers."""

from __future__ import annotations

from typing import Any

import pytest

# What most tests use does without the fixture `request`: pytest 9 makes a definition of it, with
# the signature of its function, for each fixture that asks and each time it is looked at.
runs: list[pytest.Config] = []


def pytest_configure(config: pytest.Config) -> None:
    """Know the run that is going on."""
    runs.append(config)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Forget the run."""
    runs.remove(config)


_lines = pytest.StashKey["dict[str, list[str]]"]()

_OUTPUT = "mqtt_test_broker_summary"  # the key under which xdist's workers send theirs


def add_to_summary(title: str, line: str) -> None:
    """Print *line* at the end of the run, in the section *title*; once however often."""
    lines = runs[-1].stash.setdefault(_lines, {}).setdefault(title, [])
    if line not in lines:
        lines.append(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's lines to the process that prints them (pytest-xdist).

    The fixtures of the session have been torn down by then, but for those of a test that Ctrl-C
    has ended.
    """
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = session.config.stash.setdefault(_lines, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the summary lines of a worker that has finished (pytest-xdist)."""
    for title, lines in getattr(node, "workeroutput", {}).get(_OUTPUT, {}).items():
        for line in lines:
            add_to_summary(title, line)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the summary lines of all modules."""
    for title, lines in config.stash.get(_lines, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)
