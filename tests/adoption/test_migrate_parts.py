"""Parts of scripts/migrate.py, each by itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.drop_in import ALL_MODULES
from helpers.migrating_user import SCRIPT
from migration.options import OPTIONS
from migration.pytest_runs import CollectedTest
from migration.repository import (
    decode,
    encode_like,
)
from migration.state import Change
from shared.commands import CannotRunError


def test_texts_are_written_as_they_were_read():
    bom = "\ufeffx = 'é'\r\n".encode()
    assert encode_like(bom, decode(bom, Path("x"))) == bom
    assert encode_like(b"a\r\nb", "c\nd") == b"c\r\nd"
    assert encode_like(b"a\r\nb\n", "a\r\nb\n") == b"a\r\nb\n"
    with pytest.raises(CannotRunError, match="x cannot be read"):
        decode(b"\xff", Path("x"))


def test_a_diff_names_missing_line_ends():
    change = Change(Path("a"), b"1\n2", b"1\n3\n")
    assert change.diff().splitlines()[-3:] == ["-2", "\\ No newline at end of file", "+3"]


def test_fixtures_are_looked_up_by_their_module(user):
    from migration.wiring import is_in_effect

    ours = CollectedTest("t", False, {"camera_detector": "tests.mqtt_testing.services.fixture"})
    theirs = CollectedTest("t", False, {"camera_detector": "test_detect"})
    assert is_in_effect(OPTIONS[1], ours)
    assert not is_in_effect(OPTIONS[1], theirs)
    assert not is_in_effect(OPTIONS[2], ours)


def test_the_options_name_modules_that_exist():
    modules = {module for option in OPTIONS.values() for module in option.modules}
    assert modules == set(ALL_MODULES)


def test_the_script_needs_nothing_but_python():
    command = [sys.executable, "-E", "-S", SCRIPT, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "rollback" in result.stdout
