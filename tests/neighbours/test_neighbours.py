"""The suite in tests/neighbours/suite beside each neighbour: what `make neighbours` repeats.

NEIGHBOURS in the environment says beside which, and what Python has them. Without it, the suite
runs by itself.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from helpers.drop_in import ALL_MODULES, TESTS, copy_modules
from helpers.neighbours import NEIGHBOURS, as_markdown
from helpers.processes import processes_with, wait_until

SUITE = Path(__file__).with_name("suite")

CHOSEN = json.loads(os.environ.get("NEIGHBOURS", '{"names": ["nothing"]}'))

AROUND = """
import contextlib

@pytest.fixture(autouse=True)
def neighbour({fixtures}):
    with {around}:
        yield
"""

IN_TEST = """
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    fixture = item._request.getfixturevalue
    {in_test}
"""


def make_suite(folder, neighbour):
    """Copy the suite and the kit as a user does, and wire the neighbour."""
    shutil.copytree(SUITE, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    copy_modules([name for name in ALL_MODULES if not name.startswith("camera")], folder / "tests")
    after = neighbour.after
    if neighbour.around or neighbour.fixtures:
        around = neighbour.around or "contextlib.nullcontext()"
        after += AROUND.format(fixtures=", ".join(neighbour.fixtures.split()), around=around)
    if neighbour.in_test:
        after += IN_TEST.format(in_test=neighbour.in_test)
    conftest = folder / "tests" / "conftest.py"
    wiring = conftest.read_text().replace("# BEFORE", neighbour.before)
    conftest.write_text(wiring.replace("# AFTER", after))
    if neighbour.tests:
        (folder / "tests" / "test_of_its_own.py").write_text(neighbour.tests)


@pytest.fixture
def mark(monkeypatch, tmp_path):
    """What is in the environment of every process that comes of the test."""
    monkeypatch.setenv("NEIGHBOUR_MARK", str(tmp_path))
    return f"NEIGHBOUR_MARK={tmp_path}"


@pytest.mark.parametrize(
    "neighbour",
    [neighbour for neighbour in NEIGHBOURS if neighbour.name in CHOSEN["names"]],
    ids=lambda neighbour: neighbour.name,
)
def test_a_neighbour(pytester, monkeypatch, mark, neighbour):
    make_suite(pytester.path, neighbour)
    variables = {**CHOSEN.get("variables", {}), **neighbour.variables}
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(here=pytester.path))
    python = [*CHOSEN.get("python", [sys.executable]), *neighbour.python.split()]
    options = ["-p", "no:cacheprovider", *neighbour.options.split()]
    if neighbour.without:
        options += ["-k", f"not ({neighbour.without})"]
    result = pytester.run(*python, "-m", "pytest", *options, timeout=60)
    outcomes = result.parseoutcomes()
    named = {"passed", "failed", "errors", *neighbour.outcomes}
    assert {name: outcomes[name] for name in outcomes.keys() & named} == neighbour.outcomes
    if neighbour.shows:
        result.stdout.fnmatch_lines([f"*{neighbour.shows}*"])
    assert wait_until(lambda: not processes_with(mark)), processes_with(mark)


def test_the_limits_page_says_what_the_table_says():
    assert as_markdown() in (TESTS.parent / "docs" / "limits.md").read_text()
