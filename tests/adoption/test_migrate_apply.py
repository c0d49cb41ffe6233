"""`migrate.py apply`, on repositories that are laid out as people lay out theirs."""

import json
import re
from textwrap import dedent

import pytest
from helpers.drop_in import ALL_MODULES, CAMERA_SERVICE, copied_files
from helpers.migrating_user import NEEDS_LIBCST, SLOW, plan, refuse
from migration.options import OPTIONS
from migration.state import FOLDER
from migration.wiring import wired_options

HOOKS = '''"""Fixtures of the camera tests."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "camera_detector"))
calls = []


def pytest_collectstart(collector):
    calls.append(collector)


def pytest_sessionfinish(session):
    assert calls
'''

DETECT = """
import threading
import time

import pytest
from detect import CameraDetector
from .broker import Broker
# from detect import OldDetector


@pytest.fixture
def camera_detector():
    with Broker(PORT):
        detector = CameraDetector()
        yield detector
        detector._running = False
        detector.mqtt_client.loop_stop()
        detector.mqtt_client.disconnect()


def test_initialization(camera_detector):
    assert camera_detector.mqtt_connected


def test_discovery(camera_detector):
    time.sleep(0.3)  # Wait for background discovery
    assert len(camera_detector.cameras) > 0


def test_patched(camera_detector, monkeypatch):
    monkeypatch.setattr(CameraDetector, "_run_full_discovery", lambda self: "patched")
    assert camera_detector._run_full_discovery() == "patched"
"""


# As slow as those in real suites, so that no load makes the fast fixture look no faster.
BROKER = """
import socket, subprocess, time
from shutil import which


class Broker:
    def __init__(self, port):
        self.port = port

    def __enter__(self):
        self.process = subprocess.Popen(
            [which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin"), "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(1)  # Give it time
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert self.process.poll() is None

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()
"""


@pytest.fixture
def stubborn(user, hard_port):
    """The repository that has everything against it, committed."""
    service = dedent(CAMERA_SERVICE)
    service = service.replace('int(os.environ.get("MQTT_PORT", 1883))', str(hard_port))
    assert str(hard_port) in service
    (user.root / "service.py").unlink()
    user.write("camera_detector/__init__.py", "")
    user.write("camera_detector/detect.py", service)
    user.write("tests/__init__.py", "")
    user.write("tests/broker.py", BROKER)
    user.write("tests/conftest.py", HOOKS)
    user.write("tests/test_detect.py", DETECT.replace("PORT", str(hard_port)))
    user.write(".gitignore", "__pycache__/\n")
    user.git("init", "-q")
    user.git("add", ".")
    user.git("commit", "-qm", "all")
    return user


@NEEDS_LIBCST
@pytest.mark.slow
def test_everything_by_the_book(stubborn):
    def run(command, **expected):
        return json.loads(stubborn.run(command, "--json", **expected).stdout)

    before = stubborn.files()
    items = run("status", status=1)["items"]
    assert [item["done"] for item in items] == [False] * 7

    proof = run("apply")["proof"]
    assert proof["override_took"]
    assert proof["works"]
    assert proof["outcome"] == "passed"
    assert stubborn.git("status", "--porcelain").count("tests/") == 7

    stubborn.run("fix")
    assert "test_run_discovery_once()" in stubborn.read("tests/test_detect.py")

    verified = run("verify")
    assert verified["before"] == {"passed": 3}
    assert verified["after"] == {"passed": 3}
    assert verified["regressions"] == []
    assert verified["remarks"] == []
    copied = {f"tests/{file}" for file in copied_files(ALL_MODULES)}
    assert stubborn.files().keys() - before.keys() == copied

    data = run("status", status=1)
    leftovers = data["items"].pop()
    assert not leftovers["done"]
    assert "test_detect.py:7" in leftovers["evidence"]  # import time is gone
    assert [item["done"] for item in data["items"][:5]] == [True] * 5

    stubborn.run("rollback")
    assert stubborn.files() == before
    assert stubborn.git("status", "--porcelain") == ""
    assert not (stubborn.root / FOLDER).exists()


LAYOUTS = [
    ("prepend", False, 1),
    ("prepend", True, 1),
    ("append", False, 1),
    ("importlib", False, 1),
    ("importlib", True, 1),
    ("importlib", False, 2),
    ("prepend", True, 2),
    ("prepend", False, 3),
    ("importlib", True, 3),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "package", "option"), LAYOUTS)
def test_every_layout(user, mode, package, option):
    user.write("pytest.ini", f"[pytest]\naddopts = --import-mode={mode} -W error\n")
    if package:
        user.write("tests/__init__.py", "")
    before = user.files()
    words = ["--option", str(option)]

    proof = user.data("apply", *words)["proof"]
    assert proof["test"] == "tests/test_detect.py::test_a_setting"
    assert proof["outcome"] == ("passed" if option == 1 else "failed")
    after = user.files()
    added = {f"tests/{file}" for file in copied_files(OPTIONS[option].modules)}
    assert after.keys() - before.keys() == {"tests/conftest.py", *added}
    assert wired_options(user.repository) == ([1, 2] if option == 1 else [option])

    assert plan(user, option, import_mode=mode) == {}
    user.migrate("rollback")
    assert user.files() == before


@pytest.mark.slow
def test_twice_in_a_row_changes_nothing(user):
    user.migrate("apply")
    files, kept = user.files(), user.state.records
    assert user.data("apply")["changes"] == []
    assert (user.files(), user.state.records) == (files, kept)


def test_options_add_up(user):
    user.wire(2)
    two = user.read("tests/conftest.py")
    user.wire(1)
    assert wired_options(user.repository) == [1, 2]
    both = user.read("tests/conftest.py")
    assert both.count("fix_concurrent_futures") == 1
    assert two in both
    user.migrate("rollback")
    assert not (user.root / "tests" / "conftest.py").exists()


@pytest.mark.parametrize(
    ("where", "switch"),
    [("conftest.py", {}), ("tests/conftest.py", {"CAMERA_DETECTOR_FIXTURE": "original"})],
)
def test_a_slow_fixture_in_conftest_and_the_switch_in_the_environment(user, where, switch):
    user.env.update(switch)
    fixture, test = SLOW.split("def test_")
    user.write(where, fixture)
    user.write("tests/test_detect.py", f"from service import CameraDetector\ndef test_{test}")
    assert user.data("apply")["proof"]["outcome"] == "passed"


PARAMETRIZED = SLOW.replace("@pytest.fixture", "@pytest.fixture(params=[1])").replace(
    "detector():", "detector(request):"
)


def test_a_slow_fixture_that_stays_is_said_with_the_reason(user):
    user.write("tests/test_detect.py", PARAMETRIZED)
    proof = user.data("apply", status=1)["proof"]
    assert not proof["works"]
    assert "was left as it is: it is parametrized" in proof["evidence"]
    item = user.data("status", status=1)["items"][2]
    assert not item["done"]
    assert "it is parametrized" in item["evidence"]


def test_one_slow_fixture_that_stays_does_not_hide_that_the_others_are_replaced(user):
    user.write("tests/test_a.py", PARAMETRIZED)
    proof = user.data("apply", status=1)["proof"]
    assert proof["works"]
    assert proof["test"] == "tests/test_detect.py::test_a_setting"
    [refusal] = proof["refusals"]
    assert refusal.startswith("camera_detector in tests/test_a.py was left as it is: ")
    assert user.data("status", status=1)["items"][2]["done"]


def test_a_test_that_fails_is_no_reason_to_doubt_the_setup(user):
    user.write("tests/test_detect.py", SLOW.replace(".mqtt_connected", ".cameras"))
    proof = user.data("apply")["proof"]
    assert proof["works"]
    assert proof["outcome"] == "failed"


def test_a_setup_that_fails_is_said_and_can_be_taken_back(user):
    user.write("tests/test_detect.py", SLOW.replace("from service", "# from service"))
    (user.root / "service.py").unlink()
    before = user.files()
    proof = user.data("apply", status=1)["proof"]
    assert proof["override_took"]
    assert "No class CameraDetector was found" in proof["evidence"]
    assert not user.data("status", status=1)["items"][2]["done"]
    user.migrate("rollback")
    assert user.files() == before


def test_a_dry_run_shows_all_and_changes_nothing(user):
    user.write("tests/conftest.py", "import os\n")
    before = user.files()
    diff = user.migrate("apply", "--dry-run", status=1).stdout
    assert "+from camera_detector_optimized_fixture import (  # noqa: F401" in diff
    assert "create tests/shared_mqtt_pool.py\n" in diff
    assert re.search(r"^create tests/mqtt_testing/, \d+ files$", diff, re.MULTILINE)
    assert "mqtt_testing/broker" not in diff  # copies are named together
    assert user.files() == before
    assert not (user.root / FOLDER).exists()
    user.wire(1)
    assert user.migrate("apply", "--dry-run").stdout == "Everything is in place.\n"
    wired = user.files()
    diff = user.migrate("rollback", "--dry-run", status=1).stdout
    assert "-from camera_detector_optimized_fixture import (  # noqa: F401" in diff
    assert user.files() == wired


def test_a_tests_folder_of_another_name(user):
    (user.root / "tests").rename(user.root / "checks")
    before = user.files()
    user.migrate("apply", "--tests", "checks", "--option", "2")
    assert "conftest.py has option 2" in user.migrate("status", status=1).stdout  # it remembers
    user.migrate("rollback")
    assert user.files() == before


def test_a_file_that_cannot_be_collected_is_named_and_the_others_go_on(user):
    user.write("tests/test_first.py", "import missing_package\n")
    user.write("tests/test_broken.py", "def :\n")
    said = user.migrate("apply", "--dry-run", status=1).stdout
    assert "pytest cannot collect 2 files, and goes on without:\n    tests/test_" in said
    data = user.data("apply")
    assert data["proof"]["works"]
    assert data["uncollected"].keys() == {"tests/test_first.py", "tests/test_broken.py"}
    assert "No module named 'missing_package'" in data["uncollected"]["tests/test_first.py"]


def test_tests_that_are_not_collected_any_more_are_named_with_the_reason(user):
    jealous = 'import sys\nassert "mqtt_testing" not in sys.modules, "not here"\n'
    user.write("tests/test_jealous.py", f"{jealous}def test_a(): pass\ndef test_b(): pass\n")
    proof = user.data("apply", status=1)["proof"]
    assert not proof["works"]
    [lost] = proof["lost"]
    assert lost == (
        "tests/test_jealous.py: pytest collects none of its tests: AssertionError: not here"
    )


SKIPPED_IN_SET_UP = """
@pytest.fixture
def hardware():
    pytest.skip("there is none")

def test_a_first(hardware, camera_detector): pass
"""


def test_the_proof_is_a_test_that_has_used_the_fixture(user):
    skipped = "import pytest\n@pytest.mark.skip\ndef test_z(camera_detector): pass\n"
    user.write("tests/test_before.py", skipped)
    user.write("tests/test_detect.py", SLOW.replace("def test_", SKIPPED_IN_SET_UP + "def test_"))
    proof = user.data("apply")["proof"]
    assert proof["test"] == "tests/test_detect.py::test_a_setting"
    user.write("tests/test_detect.py", SLOW.partition("def test_")[0] + SKIPPED_IN_SET_UP)
    proof = user.data("apply", status=1)["proof"]
    assert not proof["works"]
    assert "no test was seen to use camera_detector" not in proof["evidence"]
    assert "its set-up skipped" in proof["evidence"]


HANGS = "\n    import threading\n    threading.Event().wait()\n"


def test_a_test_that_hangs_is_no_proof_and_the_place_is_named(user):
    user.write("tests/test_detect.py", SLOW + HANGS)
    proof = user.data("apply", "--timeout", "1.5", status=1)["proof"]
    assert not proof["works"]
    assert (
        "it hangs: tests/test_detect.py::test_a_setting, at tests/test_detect.py:13, which waits "
        "for another thread"
    ) in proof["evidence"]
    assert "its set-up passed; the test itself did not end: " in proof["evidence"]


def test_a_file_that_hangs_as_it_is_imported_is_named(user):
    user.write("tests/test_first.py", HANGS.replace("    ", ""))
    refusal = refuse(user, "apply", "--timeout", "1.5")
    assert "tests/test_first.py, at tests/test_first.py:3, which waits for" in refusal
