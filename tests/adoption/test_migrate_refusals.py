"""What `migrate.py` cannot do, it says, and changes nothing."""

import json
import shutil

from helpers.migrating_user import (
    refuse,
)
from migration.state import FOLDER


def test_no_such_repository(user):
    user.root = user.root / "missing"
    for command in ("status", "apply", "scan", "fix", "verify", "rollback"):
        assert "there is no folder" in refuse(user, command)
    assert json.loads(user.migrate("status", "--json", status=2).stdout)["exit_status"] == 2


def test_no_tests_folder(user):
    shutil.rmtree(user.root / "tests")
    assert "no folder tests/ or test/" in refuse(user, "apply")
    assert "no folder checks/" in refuse(user, "apply", "--tests", "checks")
    assert "(a dot, if they are in no folder of their own)" in refuse(user, "apply")
    for outside in ("..", "/"):
        assert "names a folder inside" in refuse(user, "apply", "--tests", outside)


def test_no_pytest_repository(user):
    (user.root / "tests" / "test_detect.py").rename(user.root / "tests" / "detect.js")
    assert "no Python files" in refuse(user, "apply")
    user.write("tests/helper.py", "")
    assert "collects no tests" in refuse(user, "apply")


def test_no_test_that_the_option_is_for(user):
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    message = refuse(user, "apply")
    assert "none of the 1 tests" in message
    assert "--option 3" in message


def test_a_broken_conftest(user):
    user.write("tests/conftest.py", "import missing_module\n")
    refusal = refuse(user, "apply")
    assert "No module named 'missing_module'" in refusal
    assert "name the Python that has what the repository needs: --python" in refusal
    user.write("tests/conftest.py", "def :\n")
    assert "conftest.py:1 is no valid Python" in refuse(user, "apply")
    assert "conftest.py:1 is no valid Python" in refuse(user, "status")


def test_a_python_that_is_none(user):
    assert "there is no Python nothing" in refuse(user, "apply", "--python", "nothing")
    bare = user.write("bare", "#!/bin/sh\necho 'bare: No module named pytest' >&2; exit 1\n")
    bare.chmod(0o755)
    assert "has no pytest" in refuse(user, "apply", "--python", bare)
    own = user.write(".venv/bin/python", bare.read_bytes())
    own.chmod(0o755)
    assert f"{own} has no pytest" in refuse(user, "apply")


def test_a_place_that_cannot_be_written(user):
    user.write(FOLDER, "a file in the place of the folder")
    assert "cannot be written" in refuse(user, "apply", "--option", "2")


def test_usage_errors_are_argparses(user):
    assert "usage" in user.run("apply", "--option", "4", status=2).stderr
    assert "usage" in user.run("nothing", status=2).stderr
