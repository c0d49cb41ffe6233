"""What `migrate.py` cannot do, it says, and changes nothing."""

import json
import shutil

import pytest
from helpers.migrating_user import (
    refuse,
)
from migration.state import FOLDER
from migration.wiring import wired_options


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


def test_a_conftest_that_connects_as_it_is_imported(user):
    user.write("bus.py", "import paho.mqtt.publish\npaho.mqtt.publish.single('a', port=1)\n")
    user.write("tests/conftest.py", "import bus\n")
    user.write("pytest.ini", "[pytest]\npythonpath = .\n")
    refusal = refuse(user, "apply", "--option", "3")
    assert "pytest does not start in" in refusal
    assert "call redirect_to_test_broker() above that import" in refusal


@pytest.mark.parametrize("said", ["no such thing", "x" * 9999, r"no such thing\n" + "x" * 9999])
def test_a_plugin_that_breaks_pytest_is_told_in_a_line(user, said):
    user.write("tests/conftest.py", "")
    user.write("broken.py", f"raise RuntimeError('{said}')\n")
    user.write("pytest.ini", "[pytest]\npythonpath = .\naddopts = -p broken\n")
    refusal = refuse(user, "apply")
    assert "pytest does not start in" in refusal
    assert "RuntimeError: " in refusal
    assert len(refusal) < 1000


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


OWN_BROKER = "class Broker:\n    port = 1883\n\n\ndef spare(): pass\n"
USES_OWN = (
    "from mqtt_test_broker import Broker\n\n\ndef test_own():\n    assert Broker.port == 1883\n"
)


def test_a_file_of_the_users_own_is_not_overwritten(user):
    user.write("tests/mqtt_test_broker.py", OWN_BROKER)
    user.write("tests/test_own.py", USES_OWN)
    refusal = refuse(user, "apply")
    assert (
        "tests/mqtt_test_broker.py is a file of your own (tests/test_own.py:1 imports Broker), and "
        "ours has no Broker: give ours another name with --rename mqtt_test_broker="
    ) in refusal


def test_what_rename_takes(user):
    assert "--rename: other is none of our files" in refuse(user, "apply", "--rename", "other=x")
    assert "'a-b' is no name" in refuse(user, "apply", "--rename", "mqtt_test_broker=a-b")
    assert "OURS=NEW" in refuse(user, "apply", "--rename", "mqtt_test_broker")


@pytest.mark.slow
def test_ours_under_other_names(user):
    user.write("tests/mqtt_test_broker.py", OWN_BROKER)
    user.write("tests/test_own.py", USES_OWN + "import concurrent_futures_fix, mqtt_testing\n")
    user.write("tests/concurrent_futures_fix.py", "")
    user.write("tests/mqtt_testing/__init__.py", "")
    before = user.files()
    names = ("mqtt_test_broker", "concurrent_futures_fix", "mqtt_testing")
    words = [word for name in names for word in ("--rename", f"{name}=kit_{name}")]
    proof = user.data("apply", *words)["proof"]
    assert proof["works"], proof
    assert proof["lost"] == []
    assert "from kit_concurrent_futures_fix import" in user.read("tests/conftest.py")
    after = user.files()
    assert {name: after[name] for name in before} == before
    assert wired_options(user.repository) == []
    assert user.data("apply")["changes"] == []  # the names are remembered
    user.migrate("rollback")
    assert user.files() == before
