"""The options of `scripts/migrate.py` are those that docs/adopting.md has, and do what it says."""

import re
import sys

import pytest
from helpers.drop_in import TESTS
from helpers.migrating_user import (
    FINDING_AT_ONCE,
    NEEDS_LIBCST,
    SLEEPING,
    migrate,
    with_slow_fixture,
)
from migration.findings.sources import python_files

PAGE = (TESTS.parent / "docs" / "adopting.md").read_text()
ROWS = re.findall(r"^\| `(--[\w-]+).*?` \| (.*?) \|", PAGE, re.MULTILINE)
OPTIONS = {option: "all" if of == "all" else re.findall(r"`(\w+)`", of) for option, of in ROWS}


@pytest.mark.parametrize("command", migrate.COMMANDS)
def test_the_table_has_the_options_that_there_are(command, capsys):
    with pytest.raises(SystemExit):
        migrate.parse([command, "--help"])
    there = re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert {o for o, of in OPTIONS.items() if of == "all" or command in of} == {*there}


@NEEDS_LIBCST
@pytest.mark.parametrize("command", ["status", "scan", "fix", "verify", "update", "rollback"])
def test_each_command_takes_the_folder_of_the_tests(user, command):
    (user.root / "tests").rename(user.root / "checks")
    assert "name that of its tests: --tests" in user.data(command, status=2)["error"]
    data = user.data(command, "--tests", "checks", status=None)
    assert "checks has none of our modules" in data.get("error", "checks has none of our modules")


@pytest.mark.slow
def test_the_options_hold_from_the_first_command_to_the_last(user):
    """The folder and the names are given once, and kept."""
    user.write("service.py", FINDING_AT_ONCE)
    explicit = "time.sleep(0.3); camera_detector._run_full_discovery()"
    text = with_slow_fixture(SLEEPING.replace("time.sleep(2)", explicit))
    user.write("tests/test_detect.py", text)
    (user.root / "tests").rename(user.root / "checks")
    before = user.files()
    names = ("--rename", "shared_mqtt_pool=our_pool", "--rename", "mqtt_testing=our_kit")
    changes = user.data("apply", "--tests", "checks", *names)["changes"]
    assert not any("our_kit" in path.parts for path in python_files(user.root))
    created = {change["path"] for change in changes if change["action"] == "create"}
    assert {"checks/our_pool.py", "checks/our_kit/summary.py"} <= created
    assert not any(re.search("mqtt_testing|shared_mqtt_pool", path) for path in created)

    python = user.write("python", f'#!/bin/sh\ntouch was_run\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    slowest = user.data("verify", "--python", python, status=None)["slowest"]
    waits = {wait["file"]: wait["kind"] for test in slowest for wait in test["waits"]}
    assert waits.get("checks/test_detect.py") == "sleep"
    assert not any("our_kit" in file for file in waits)
    assert (user.root / "was_run").exists()

    ours = user.root / "checks/our_kit/summary.py"
    text = ours.read_text()
    ours.write_text(f"{text}# mine\n")
    assert "+# mine" in user.read(user.data("update", "--keep-edits")["patch"])
    assert ours.read_text() == text
    assert user.data("update")["changes"] == []

    user.migrate("rollback")
    for made in (python, user.root / "was_run"):
        made.unlink()
    assert user.files() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-k", "nothing"], "pytest has collected no tests: name some"),
        (["tests/nothing.py"], "ERROR: file or directory not found: tests/nothing.py"),
        (["--nothing"], "error: unrecognized arguments: --nothing"),
    ],
    ids=["no test", "no file", "no option"],
)
def test_words_for_pytest_that_it_can_do_nothing_with(user, words, why):
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    user.wire(2)
    said = user.migrate("verify", "--", *words, status=2).stderr
    assert said.endswith(f"before, no test has ended: {why}\n")
