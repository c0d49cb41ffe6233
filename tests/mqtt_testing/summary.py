"""Lines for the end of the run, from all rooms and from pytest-xdist's workers."""

from __future__ import annotations

from typing import Any

import pytest

# What most tests use does without the fixture `request`: pytest 9 makes a definition of it, with
# the signature of its function, for each fixture that asks and each time it is looked at.
runs: list[pytest.Config] = []


def pytest_plugin_registered(plugin: object) -> None:
    """Know the run that is going on, from the import in conftest.py on."""
    if isinstance(plugin, pytest.Config):
        runs.append(plugin)
        plugin.add_cleanup(lambda: runs.remove(plugin))


_Sections = dict[str, dict[str, list[str]]]
"""By title and line, for example by whom."""

_lines = pytest.StashKey[_Sections]()

EXAMPLES = 3
"""How many examples a line has; of others it says how many there are."""

_OUTPUT = "mqtt_test_broker_summary"  # the key under which xdist's workers send theirs


def add_to_summary(title: str, line: str, example: str = "") -> None:
    """Print *line* at the end of the run, in the section *title*; once, with each *example*."""
    lines = runs[-1].stash.setdefault(_lines, {}).setdefault(title, {})
    examples = lines.setdefault(line, [])
    if example and example not in examples:
        examples.append(example)


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
        for line, examples in lines.items():
            for example in examples or [""]:
                add_to_summary(title, line, example)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the summary lines of all modules."""
    for title, lines in config.stash.get(_lines, {}).items():
        terminalreporter.section(title)
        for line, examples in lines.items():
            terminalreporter.line(line + _say(examples))


def _say(examples: list[str]) -> str:
    shown = examples[:EXAMPLES]
    if len(examples) > EXAMPLES:
        shown.append(f"and {len(examples) - EXAMPLES} more")
    return f": {'; '.join(shown)}" if shown else ""
