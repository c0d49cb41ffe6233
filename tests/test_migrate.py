"""scripts/migrate.py, on throw-away repositories that are laid out as people lay out theirs."""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent, indent
from typing import NamedTuple
from unittest import mock

import pytest
from helpers.drop_in import ALL_MODULES, CAMERA_SERVICE
from mqtt_test_broker import find_mosquitto

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
SCRIPT = SCRIPTS / "migrate.py"

sys.path.append(str(SCRIPTS))
import migrate  # noqa: E402
from migration.findings import Finding, scan  # noqa: E402
from migration.pytest_runs import CollectedTest, PytestRun  # noqa: E402
from migration.repository import (  # noqa: E402
    CannotMigrateError,
    decode,
    encode_like,
    open_repository,
)
from migration.state import FOLDER, Change, State  # noqa: E402
from migration.verification import BACKGROUND, diagnose, diagnose_clients  # noqa: E402
from migration.wiring import OPTIONS, planned_changes, wired_options  # noqa: E402

SLOW = """
import pytest
from service import CameraDetector

@pytest.fixture
def camera_detector():
    return object()

def test_a_setting(camera_detector):
    assert camera_detector.mqtt_connected
"""


NEEDS_LIBCST = pytest.mark.skipif(not find_spec("libcst"), reason="fix needs libcst")


class Result(NamedTuple):
    stdout: str
    stderr: str


class User:
    """A user, a repository, and what the script says about it."""

    def __init__(self, root):
        self.root = root
        self.env = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "CAMERA"))}
        self.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # so that pytest starts in no time
        self.env["GIT_CONFIG_GLOBAL"] = os.devnull
        self.write("service.py", dedent(CAMERA_SERVICE))
        self.write("tests/test_detect.py", SLOW)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def read(self, name):
        return (self.root / name).read_text()

    def run(self, command, *words, status=0):
        """Run the script."""
        result = subprocess.run(
            [sys.executable, SCRIPT, command, self.root, *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == status, result.stdout + result.stderr
        assert "Traceback (most" not in result.stderr
        return result

    def migrate(self, command, *words, status=0):
        """Do what the script does, without a process of its own."""
        out, err = io.StringIO(), io.StringIO()
        environment = mock.patch.dict(os.environ, self.env, clear=True)
        with environment, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            returned = migrate.main([command, str(self.root), *map(str, words)])
        result = Result(out.getvalue(), err.getvalue())
        assert returned == status, result
        return result

    def wire(self, option):
        """Do what `apply` does, but for running pytest."""
        changes = planned_changes(self.repository, OPTIONS[option], collected(), self.state)
        self.state.make(changes)

    def data(self, command, *words, status=0):
        data = json.loads(self.migrate(command, "--json", *words, status=status).stdout)
        assert data["exit_status"] == status
        return data

    def files(self):
        """Everything that there is, with its content and mode."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode, path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not {FOLDER, ".git"} & set(path.relative_to(self.root).parts)
        }

    def git(self, *words):
        command = ["git", "-c", "user.name=u", "-c", "user.email=u@example.org", *words]
        return subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=True
        ).stdout

    @property
    def repository(self):
        return open_repository(self.root, None, sys.executable)

    @property
    def state(self):
        return State(self.root)


@pytest.fixture
def user(tmp_path):
    root = tmp_path / "a repository"
    root.mkdir()
    return User(root)


def collected(**changes):
    return PytestRun(**{"import_mode": "prepend", "path": [], **changes})


def plan(user, number=1, **changes):
    """The changes that an option takes, by path."""
    changes = planned_changes(user.repository, OPTIONS[number], collected(**changes), user.state)
    return {str(change.path): change for change in changes}


def conftest_after(user, number=1, **changes):
    return plan(user, number, **changes)["tests/conftest.py"].new


# --- the whole way -------------------------------------------------------------------------------

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
def hard_port():
    """A port that nobody else gets, for a service that has it hard-coded; a broker can have it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


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
    assert stubborn.git("status", "--porcelain").count("tests/") == 6

    stubborn.run("fix")
    assert "test_run_discovery_once()" in stubborn.read("tests/test_detect.py")

    verified = run("verify")
    assert verified["before"] == {"passed": 3}
    assert verified["after"] == {"passed": 3}
    assert verified["regressions"] == []
    assert verified["remarks"] == []
    assert stubborn.files().keys() - before.keys() == {f"tests/{m}.py" for m in ALL_MODULES}

    data = run("status", status=1)
    leftovers = data["items"].pop()
    assert not leftovers["done"]
    assert "test_detect.py:7" in leftovers["evidence"]  # import time is gone
    assert [item["done"] for item in data["items"][:5]] == [True] * 5

    stubborn.run("rollback")
    assert stubborn.files() == before
    assert stubborn.git("status", "--porcelain") == ""
    assert not (stubborn.root / FOLDER).exists()


# --- apply ---------------------------------------------------------------------------------------

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
    added = {f"tests/{module}.py" for module in OPTIONS[option].modules}
    assert after.keys() - before.keys() == {"tests/conftest.py", *added}
    assert wired_options(user.repository) == ([1, 2] if option == 1 else [option])

    assert plan(user, option, import_mode=mode) == {}
    user.migrate("rollback")
    assert user.files() == before


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
    assert both.endswith(two)
    user.migrate("rollback")
    assert not (user.root / "tests" / "conftest.py").exists()


@pytest.mark.parametrize("where", ["conftest.py", "tests/conftest.py"])
def test_a_slow_fixture_in_conftest(user, where):
    fixture, test = SLOW.split("def test_")
    user.write(where, fixture)
    user.write("tests/test_detect.py", f"from service import CameraDetector\ndef test_{test}")
    assert user.data("apply")["proof"]["outcome"] == "passed"


def test_skipped_tests_prove_nothing(user):
    skipped = "\n@pytest.mark.skip\ndef test_{}(camera_detector): pass\n"
    user.write("tests/test_detect.py", SLOW + skipped.format("z"))
    user.write("tests/test_before.py", "import pytest" + skipped.format("a"))
    assert user.data("apply")["proof"]["test"] == "tests/test_detect.py::test_a_setting"


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


def test_the_original_fixture_in_the_environment_is_no_obstacle(user):
    user.env["CAMERA_DETECTOR_FIXTURE"] = "original"
    assert user.data("apply")["proof"]["override_took"]


def test_a_dry_run_shows_all_and_changes_nothing(user):
    user.write("tests/conftest.py", "import os\n")
    before = user.files()
    diff = user.migrate("apply", "--dry-run", status=1).stdout
    assert "+from camera_detector_optimized_fixture import camera_detector_fast" in diff
    assert "+++ b/tests/shared_mqtt_pool.py" in diff
    assert user.files() == before
    assert not (user.root / FOLDER).exists()
    user.wire(1)
    assert user.migrate("apply", "--dry-run").stdout == "Everything is in place.\n"
    wired = user.files()
    diff = user.migrate("rollback", "--dry-run", status=1).stdout
    assert "-from camera_detector_optimized_fixture import camera_detector_fast" in diff
    assert user.files() == wired


def test_a_tests_folder_of_another_name(user):
    (user.root / "tests").rename(user.root / "checks")
    before = user.files()
    user.migrate("apply", "--tests", "checks", "--option", "2")
    assert "conftest.py has option 2" in user.migrate("status", status=1).stdout  # it remembers
    user.migrate("rollback")
    assert user.files() == before


# --- conftest.py ---------------------------------------------------------------------------------

CAMERA = "from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish"
LINES = f"{CAMERA}  # noqa: F401\nfrom concurrent_futures_fix import fix_concurrent_futures"
LINES += "  # noqa: F401\n"


@NEEDS_LIBCST
def test_tests_in_no_folder_of_their_own(user):
    (user.root / "tests" / "test_detect.py").unlink()
    user.write("test_detect.py", SLEEPING.replace("sleep(2)", "sleep(0.01)"))
    user.write("service.py", FINDING_AT_ONCE)
    user.write(".venv/lib/broken.py", "def :\n")
    before = user.files()
    user.migrate("apply", "--tests", ".")
    assert user.read("conftest.py") == LINES
    assert user.data("fix")["findings"] == []  # without --tests: apply has noted it
    verified = user.data("verify")
    assert verified["before"] == verified["after"] == {"passed": 2}
    assert user.data("status", status=1)["items"][4]["done"]  # there is no speed-up to speak of
    user.write(".venv/lib/other.py", "")
    assert user.data("status", status=1)["items"][4]["done"]
    (user.root / ".venv" / "lib" / "other.py").unlink()
    user.migrate("rollback")
    assert user.files() == before


PLUGIN = """
import pytest

@pytest.fixture{}
def {}():
    raise AssertionError("the slow fixture was used")
"""


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("slow", [("", "camera_detector"), ("(name='camera_detector')", "slow")])
def test_a_slow_fixture_of_a_plugin(user, package, slow):
    user.write("cameras/__init__.py", "")
    user.write("cameras/fixtures.py", PLUGIN.format(*slow))
    user.write("conftest.py", 'pytest_plugins = ["cameras.fixtures"]\n')
    user.write("tests/test_detect.py", "import service\n" + SLOW.partition("object()\n")[2])
    if package:
        user.write("tests/__init__.py", "")
    proof = user.data("apply")["proof"]
    assert proof["works"], proof
    assert proof["refusals"] == []
    assert f"from cameras.fixtures import {slow[1]}  # noqa" in user.read("tests/conftest.py")
    assert user.data("apply")["changes"] == []


LAZY = """
import pytest

@pytest.fixture
def camera_detector():
    from cameras.detector import CameraDetector
    return CameraDetector()
"""
EAGER = """
import sys
sys.path.insert(0, "cameras")
import pytest
from detector import CameraDetector

@pytest.fixture
def camera_detector():
    return CameraDetector()
"""
SETTING = """
def test_a_setting(camera_detector):
    assert camera_detector.mqtt_connected
"""
OTHER_NAME = """
def test_another_name():
    from cameras.detector import CameraDetector
"""


@pytest.mark.parametrize(
    ("conftest", "tests", "wanted"),
    [
        (LAZY, SETTING, "cameras.detector"),
        ("", LAZY + SETTING, "cameras.detector"),
        (EAGER, SETTING + OTHER_NAME, "detector"),
        (EAGER, SETTING, None),  # it is there by then, and there is only one
        (EAGER, "from cameras.detector import CameraDetector\n" + SETTING, None),
    ],
)
def test_the_class_that_the_slow_fixture_imports(user, conftest, tests, wanted):
    user.write("cameras/__init__.py", "")
    (user.root / "service.py").rename(user.root / "cameras" / "detector.py")
    user.write("tests/conftest.py", conftest)
    user.write("tests/test_detect.py", tests)
    proof = user.data("apply")["proof"]
    assert proof["works"], proof
    imported = f"    from {wanted} import CameraDetector\n\n    return CameraDetector\n"
    assert (imported in user.read("tests/conftest.py")) == bool(wanted)
    assert user.data("apply")["changes"] == []


def test_a_reason_is_told_to_its_end(user):
    user.write("tests/test_detect.py", SLOW.replace("from service import CameraDetector", ""))
    (user.root / "service.py").unlink()
    evidence = user.data("apply", status=1)["proof"]["evidence"]
    assert "No class CameraDetector was found" in evidence
    assert "    def camera_detector_class():" in evidence


def test_the_users_settings_hide_nothing_from_us(user):
    user.write("pytest.ini", "[pytest]\naddopts = --no-summary --tb=no -q\n")
    user.write("tests/test_detect.py", "import missing_module\n")
    assert "No module named 'missing_module'" in refuse(user, "apply")
    user.write("tests/test_detect.py", SLOW.replace("fixture\n", "fixture(params=[1, 2])\n"))
    assert "it is parametrized" in user.migrate("apply", status=1).stdout


def test_status_says_how_many_there_are_and_how_to_see_all(user):
    waits = [SLEEPING.replace("discovery(", f"discovery_{n}(") for n in range(5)]
    user.write("tests/test_detect.py", SLEEPING + "\n".join(waits[:2]))
    evidence = user.data("status", status=1)["items"][3]["evidence"]
    assert evidence.startswith("3 waits, in tests/test_detect.py:")
    user.write("tests/test_detect.py", "\n".join(waits))
    evidence = user.data("status", status=1)["items"][3]["evidence"]
    assert evidence.startswith("5 waits, the first 3 in tests/test_detect.py:")
    assert evidence.endswith(" (scan lists all 5)")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", LINES),
        ("import os\n", f"{LINES}\nimport os\n"),
        ("\nimport os\n", f"{LINES}\nimport os\n"),
        ('"""Doc."""', f'"""Doc."""\n\n{LINES}'),
        ('"""Doc\n\nmore\n"""\nx = 1\n', f'"""Doc\n\nmore\n"""\n\n{LINES}\nx = 1\n'),
        (
            "from __future__ import annotations\n\nimport os",
            f"from __future__ import annotations\n\n{LINES}\nimport os",
        ),
        ("# owner\n# ours\nx = 1\n", f"# owner\n# ours\n\n{LINES}\nx = 1\n"),
        (f"x = 1\n{LINES}", f"x = 1\n{LINES}"),
        (
            "try:\n    from camera_detector_optimized_fixture import camera_detector_fast\n"
            "except ImportError:\n    pass\n",
            f"{LINES}\ntry:\n    from camera_detector_optimized_fixture import "
            "camera_detector_fast\nexcept ImportError:\n    pass\n",
        ),
    ],
)
def test_where_the_lines_go(user, before, after):
    user.write("tests/conftest.py", before)
    change = plan(user).get("tests/conftest.py")
    assert (change.new if change else before.encode()) == after.encode()


@pytest.mark.parametrize(
    "own",
    [
        "def pytest_sessionfinish(session): pass\n",
        "from hooks import pytest_sessionfinish\n",
        "from hooks import finish as pytest_sessionfinish\n",
        "pytest_sessionfinish = print\n",
    ],
)
def test_a_hook_of_the_users_own_is_not_imported_over(user, own):
    user.write("tests/conftest.py", own)
    lines = LINES.replace(", pytest_sessionfinish", "")
    assert conftest_after(user).decode() == f"{lines}\n{own}"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_conftest_keeps_its_encoding_and_line_ends(user, line_end, encoding):
    cookie = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    text = f"{cookie}x = 'é'\ny = 2".replace("\n", line_end)
    user.write("tests/conftest.py", text.encode(encoding))
    expected = (f"{cookie}\n" if cookie else "") + f"{LINES}\nx = 'é'\ny = 2"
    assert conftest_after(user) == expected.replace("\n", line_end).encode(encoding)


def test_importlib_mode_needs_a_search_path_once(user):
    wired = conftest_after(user, import_mode="importlib").decode()
    assert "sys.path.append(str(Path(__file__).parent))" in wired
    folder = os.path.realpath(user.root / "tests")
    assert "sys.path" not in conftest_after(user, import_mode="importlib", path=[folder]).decode()
    user.write("tests/__init__.py", "")
    assert "sys.path" not in conftest_after(user, import_mode="importlib").decode()


def test_in_a_package_the_imports_have_a_dot(user):
    user.write("tests/__init__.py", "")
    wired = conftest_after(user).decode()
    assert wired.startswith(LINES.replace("from ", "from ."))
    user.write("tests/conftest.py", wired)
    assert "tests/conftest.py" not in plan(user)
    user.write("tests/conftest.py", LINES.replace("from ", "from tests."))
    assert "tests/conftest.py" not in plan(user)


def test_a_module_that_was_there_is_replaced_and_kept(user):
    user.write("tests/mqtt_test_broker.py", "mine = True\n")
    user.wire(1)
    assert user.read("tests/mqtt_test_broker.py") != "mine = True\n"
    user.migrate("rollback")
    assert user.read("tests/mqtt_test_broker.py") == "mine = True\n"


def test_a_module_that_was_edited_since_is_left_alone(user):
    user.wire(2)
    with user.root.joinpath("tests", "concurrent_futures_fix.py").open("a") as file:
        file.write("# mine\n")
    edited = user.files()
    user.wire(2)
    assert user.files() == edited


# --- rollback ------------------------------------------------------------------------------------


def test_rollback_is_byte_for_byte(user):
    user.write("tests/conftest.py", b"# one\r\nimport os\nx = 1").chmod(0o640)
    user.write("tests/test_detect.py", SLOW.replace("\n", "\r\n")).chmod(0o755)
    before = user.files()
    user.migrate("apply")
    assert user.files()["tests/conftest.py"][0] & 0o777 == 0o640
    user.migrate("rollback")
    assert user.files() == before


def test_a_symbolic_link_stays_one(user):
    user.write("shared.py", "x = 1\n")
    link = user.root / "tests" / "conftest.py"
    link.symlink_to("../shared.py")
    user.wire(2)
    assert link.is_symlink()
    assert "fix_concurrent_futures" in user.read("shared.py")
    user.migrate("rollback")
    assert user.read("shared.py") == "x = 1\n"


def test_rollback_of_nothing(user):
    assert "nothing to take back" in user.migrate("rollback").stdout


def test_a_dirty_tree_stays_as_dirty_as_it_was(user):
    user.write("tests/conftest.py", "x = 1\n")
    user.git("init", "-q")
    user.git("add", ".")
    user.git("commit", "-qm", "all")
    user.write("tests/conftest.py", "x = 2\n")
    user.write("tests/new.py", "")
    dirty = user.git("status", "--porcelain")
    user.wire(2)
    user.migrate("rollback")
    assert user.git("status", "--porcelain") == dirty
    assert user.read("tests/conftest.py") == "x = 2\n"


@pytest.mark.parametrize("how", ["edited", "removed", "module edited"])
def test_rollback_refuses_to_lose_an_edit(user, how):
    user.write("tests/conftest.py", "x = 1\n")
    user.wire(2)
    path = user.root / "tests" / "conftest.py"
    if how == "module edited":
        path = path.with_name("concurrent_futures_fix.py")
    ours = path.read_bytes()
    path.unlink() if how == "removed" else path.write_bytes(ours + b"mine = 1\n")
    edited = user.files()

    refused = user.migrate("rollback", status=2)
    assert f"tests/{path.name} was edited since" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert ("-x = 1" if how == "removed" else "+mine = 1") in refused.stdout
    data = user.data("rollback", status=2)
    assert [edit["path"] for edit in data["edits"]] == [f"tests/{path.name}"]
    assert user.files() == edited

    path.write_bytes(ours)
    user.migrate("rollback")
    assert user.read("tests/conftest.py") == "x = 1\n"


def make(user, name, content):
    """Change a file as a command does, with a state of its own."""
    change = Change(Path(name), user.repository.read(Path(name)), content)
    user.state.make([change])


def test_edits_between_two_changes_are_not_lost_either(user):
    user.write("tests/a.py", "1\n")
    make(user, "tests/a.py", b"2\n")
    user.write("tests/a.py", "2\nmine\n")
    make(user, "tests/a.py", b"3\nmine\n")
    [edit] = user.state.edits()
    assert (edit.old, edit.new) == (b"2\n", b"2\nmine\n")
    user.write("tests/a.py", "2\n")  # as we left it, before the edit
    assert user.state.edits() == []


def test_changes_one_after_the_other_are_taken_back_in_one(user):
    user.write("tests/a.py", "1\n")
    make(user, "tests/a.py", b"2\n")
    make(user, "tests/a.py", b"3\n")
    for content in ("1\n", "2\n", "3\n"):  # wherever we were interrupted
        user.write("tests/a.py", content)
        assert user.state.edits() == []
    user.state.restore()
    assert user.read("tests/a.py") == "1\n"


def test_an_error_half_way_loses_nothing(user):
    before = user.files()
    changes = [
        Change(Path("tests/test_detect.py"), SLOW.encode(), b"lost"),
        Change(Path("tests/new.py"), None, b"new"),
        Change(Path("tests/no/folder.py"), None, b"new"),
    ]
    with pytest.raises(CannotMigrateError, match=r"No such file.*nothing was changed"):
        user.state.make(changes)
    assert user.files() == before
    assert not (user.root / FOLDER).exists()


def test_an_error_half_way_keeps_what_was_done_before(user):
    make(user, "tests/a.py", b"1\n")
    kept = user.state.records
    with pytest.raises(CannotMigrateError):
        make(user, "tests/no/folder.py", b"new")
    assert user.state.records == kept
    user.state.restore()
    assert not (user.root / "tests" / "a.py").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"tests": null}'])
def test_a_damaged_index(user, damage):
    user.write(f"{FOLDER}/state.json", damage)
    assert "is damaged" in user.migrate("status", status=2).stderr


def test_a_damaged_copy_is_not_restored(user):
    user.write("tests/a.py", "1\n")
    make(user, "tests/a.py", b"2\n")
    for file in (user.root / FOLDER).iterdir():
        if len(file.name) == 64:
            file.write_text("damaged")
    assert "is damaged" in user.migrate("rollback", status=2).stderr
    assert user.read("tests/a.py") == "2\n"


# --- what cannot be done -------------------------------------------------------------------------


def refuse(user, command, *words):
    """Return the one line that says why; nothing may have changed."""
    before = user.files() if user.root.is_dir() else None
    result = user.migrate(command, *words, status=2)
    assert result.stderr.startswith("migrate: ")
    assert result.stderr.count("\n") == 1
    if before is not None:
        assert user.files() == before
        assert not (user.root / FOLDER).is_dir()
    return result.stderr


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


# --- scan, fix, status, verify -------------------------------------------------------------------

FINDING_AT_ONCE = """
import threading
import paho.mqtt.client

class CameraDetector:
    def __init__(self):
        self.cameras = {}
        self.mqtt_connected = self._running = True
        background = threading.Thread(target=self._run_full_discovery)
        background.start()
        background.join()

    def _run_full_discovery(self):
        self.cameras["1"] = "found"
"""

SLEEPING = SLOW.replace("object()", "CameraDetector()")
SLEEPING += """
import time

def test_discovery(camera_detector):
    time.sleep(2)  # Wait for background discovery
    assert len(camera_detector.cameras) > 0
"""


@NEEDS_LIBCST
def test_scan_and_fix(user):
    user.write("tests/test_detect.py", SLEEPING.replace("\n", "\r\n"))
    before = user.files()
    [finding] = user.data("scan", status=1)["findings"]
    assert finding["path"] == "tests/test_detect.py"
    assert finding["certain"]
    assert "test_detect.py:15" in user.migrate("scan", status=1).stdout
    assert "+    camera_detector.test_run" in user.migrate("fix", "--dry-run", status=1).stdout
    assert user.files() == before

    user.migrate("fix")
    fixed = user.files()["tests/test_detect.py"][1]
    assert b"test_run_discovery_once()" in fixed
    assert fixed.count(b"\r\n") == fixed.count(b"\n")
    user.migrate("scan")
    user.migrate("fix")
    assert user.files()["tests/test_detect.py"][1] == fixed
    user.migrate("rollback")
    assert user.files() == before


def test_status_follows_what_is_there(user):
    user.migrate("apply")
    status = user.data("status", status=1)
    assert [item["done"] for item in status["items"]] == [True] * 4 + [False, False, True]
    assert status["next_step"] == "verify"
    (user.root / "tests" / "conftest.py").write_text("")
    assert not user.data("status", status=1)["items"][1]["done"]
    assert not user.data("status", status=1)["items"][2]["done"]


def test_a_test_that_was_run_for_what_is_not_there_any_more_shows_nothing(user):
    user.migrate("apply")
    (user.root / "tests" / "mqtt_test_broker.py").unlink()  # option 2 does without it
    item = user.data("status", status=1)["items"][2]
    assert not item["done"]
    assert "option 1 is gone since" in item["evidence"]


def test_fix_says_what_it_needs(user, monkeypatch):
    monkeypatch.delitem(sys.modules, "migration.fixes", raising=False)
    monkeypatch.setitem(sys.modules, "libcst", None)
    assert "fix needs libcst: " in refuse(user, "fix")


def test_what_somebody_has_wired_by_hand_is_fine(user):
    user.write("tests/conftest.py", LINES)
    for module in ALL_MODULES:
        shutil.copy(ROOT / "tests" / f"{module}.py", user.root / "tests")
    assert user.data("apply")["changes"] == []
    items = user.data("status", status=1)["items"]
    assert [item["done"] for item in items[:3]] == [True] * 3


def test_verify_before_apply(user):
    assert "Next: apply" in user.migrate("verify", status=1).stdout
    assert not (user.root / FOLDER).exists()


@NEEDS_LIBCST
def test_verify_says_what_became_worse_and_why(user):
    better = "\ndef test_better(camera_detector): camera_detector.test_run_discovery_once()\n"
    user.write("pytest.ini", "[pytest]\ntestpaths = tests\n")  # linked to by the copy
    user.write("service.py", FINDING_AT_ONCE)
    user.write("tests/test_detect.py", SLEEPING.replace("sleep(2)", "sleep(0.01)") + better)
    user.wire(1)
    verified = user.data("verify", status=1)
    [regression] = verified["regressions"]
    assert regression["nodeid"] == "tests/test_detect.py::test_discovery"
    assert regression["diagnosis"].startswith("slept for background work")
    assert verified["newly_passing"] == ["tests/test_detect.py::test_better"]
    status = user.data("status", status=1)["items"][4]
    assert not status["done"]
    assert "1 of them passed before" in status["evidence"]
    assert "in tests/test_detect.py::test_discovery: it slept for background" in status["evidence"]

    user.migrate("fix")
    assert "edited since" in user.data("status", status=1)["items"][4]["evidence"]
    text = user.migrate("verify").stdout
    assert "No test has become worse." in text
    assert "overhead per test, median" in text
    assert user.data("status", status=1)["items"][4]["done"]
    assert not (user.root / FOLDER / "before").exists()


WAITED = {"nodeid": "tests/test_detect.py::test_b", "diagnosis": f"{BACKGROUND}; or it ..."}


@pytest.mark.parametrize(
    ("text", "regressions", "is_done"),
    [
        (SLOW, [WAITED], False),  # scan has not seen the wait, verify has
        (SLOW, [{**WAITED, "diagnosis": "has no known cause"}], True),
        (SLEEPING, [], False),  # fix would rewrite it
        (SLEEPING.replace("2)", "seconds())"), [], True),
        (SLEEPING.replace("2)", "seconds())"), None, False),
    ],
)
def test_what_verify_has_seen_of_the_waits_counts(user, text, regressions, is_done):
    user.write("tests/test_detect.py", text)
    if regressions is not None:
        state = user.state
        state.evidence = {
            "fingerprint": user.repository.fingerprint(),
            "regressions": regressions,
            "is_good": not regressions,
            "after": {},
            "date": "today",
            "speed_up": {},
        }
        state.save()
    item = user.data("status", status=1)["items"][3]
    assert item["done"] == is_done
    assert ("test_b" in item["evidence"]) == (regressions == [WAITED])


def test_a_reader_who_has_seen_enough_is_no_error(user):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        command = [sys.executable, SCRIPT, "rollback", user.root]
        result = subprocess.run(command, env=user.env, stdout=output, stderr=subprocess.PIPE)
    assert result.stderr == b""
    assert result.returncode == 128 + signal.SIGPIPE


def test_a_suite_that_cannot_be_run_is_not_verified(user):
    user.wire(2)
    user.write("tests/test_detect.py", "import missing_module\n")
    assert "cannot be compared" in user.run("verify", status=2).stderr.splitlines()[-1]
    assert not (user.root / FOLDER / "before").exists()


def test_settings_above_the_repository(user):
    user.root.parent.joinpath("pytest.ini").write_text("[pytest]\n")
    user.wire(2)
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    verified = user.data("verify")
    assert verified["regressions"] == []
    assert verified["after"] == {"passed": 1}


@pytest.mark.parametrize("command", ["apply", "verify"])
def test_no_process_is_left_behind(user, command):
    user.wire(2)
    fifo = user.root / "fifo"
    os.mkfifo(fifo)
    user.write(
        "tests/test_detect.py",
        f"import os, threading\nfile = open({str(fifo)!r}, 'w')\n"
        "print(os.getpid(), file=file, flush=True)\nthreading.Event().wait()\n",
    )
    script = subprocess.Popen(
        [sys.executable, SCRIPT, command, user.root],
        env=user.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with script, fifo.open() as lines:
        pid = int(lines.readline())
        script.terminate()
        assert script.stderr.read().endswith("migrate: interrupted\n")
        assert script.wait() == 130
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (user.root / FOLDER / "before").exists()


DIAGNOSES = {
    "slept for background": ("    d.wait(5)\n", "assert 0"),
    "needs a dedicated client": ("    d.connect(clean_session=False)\n", "assert 0"),
    "found another class: the": ("    pass\n", "There are several classes CameraDetector: a.b"),
    "found another class: it": ("    monkeypatch.setattr('a.b', 1)\n", "assert 0"),
    "has the old fixture": ("    pass\n", "'X' object has no attribute 'test_run_discovery_once'"),
    "uses what the slow fixture gave": ("    d.wait(1)\n", "'X' object has no attribute 'broker'"),
    "needs a dedicated broker": ("    d.wait(1)\n", "ConnectionRefusedError: [Errno 111]"),
    "has no broker": ("    pass\n", "mosquitto was not found"),
    "needs a fixture": ("    pass\n", "fixture 'config' not found"),
    "has no known cause": ("    d.test_run_discovery_once(); d.wait(1)\n", "assert 0"),
}


def test_nothing_at_all_has_no_attributes_where_the_background_did_not_run(user):
    user.write("tests/test_a.py", "def test_b(d):\n    d.wait(1)\n")
    reason = "'NoneType' object has no attribute 'name'"
    assert diagnose(user.repository, "tests/test_a.py::test_b", reason, []) == BACKGROUND


def test_all_likely_causes_are_given(user):
    source = "def test_b(d):\n    d.wait(1)\n    d.connect(clean_session=False)\n"
    user.write("tests/test_a.py", source)
    diagnosis = diagnose(user.repository, "tests/test_a.py::test_b", "assert 0", [])
    assert diagnosis.startswith("needs a dedicated client")
    assert diagnosis.endswith(f"; or it {BACKGROUND}")


@pytest.mark.parametrize("place", ["tests/test_a.py", "tests/conftest.py", "conftest.py"])
def test_a_test_that_relied_on_the_one_before(user, place):
    source = "def test_b(camera_detector): assert camera_detector.mine\n"
    user.write("tests/test_a.py", source)
    fixture = "@pytest.fixture(scope='module')\ndef camera_detector(): pass\n"
    user.write(place, fixture + (source if place == "tests/test_a.py" else ""))
    diagnosis = diagnose(user.repository, "tests/test_a.py::test_b", "assert 0", [])
    assert diagnosis.startswith("shared the service with the tests before it")
    user.write(place, user.read(place).replace("(scope='module')", ""))
    diagnosis = diagnose(user.repository, "tests/test_a.py::test_b", "assert 0", [])
    assert diagnosis.startswith("has no known cause")


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_diagnoses(user, diagnosis):
    source, reason = DIAGNOSES[diagnosis]
    user.write("tests/test_a.py", f"class TestIt:\n  def test_b(self, d):\n{source}")
    nodeid = "tests/test_a.py::TestIt::test_b[1-a::b]"
    assert diagnose(user.repository, nodeid, reason, []).startswith(diagnosis)


EVERY_SUITE = """
import time

def test_a():
    time.sleep(0.01)

def test_b({}):
    assert {}
"""


@pytest.mark.parametrize(
    ("option", "fixture", "diagnosis", "way"),
    [
        (2, "fix_concurrent_futures", "without the import of fix_concurrent", "option 2 mends"),
        (3, "prompt_mqtt_clients", "without redirected_mqtt_clients, and", "it lists the sleeps"),
    ],
)
def test_verify_speaks_of_no_fixture_where_none_is_replaced(user, option, fixture, diagnosis, way):
    user.write("tests/test_detect.py", EVERY_SUITE.format("request", "True"))
    user.wire(option)
    wrong = f"{fixture!r} not in request.fixturenames"
    user.write("tests/test_detect.py", EVERY_SUITE.format("request", wrong))
    result = user.migrate("verify", status=1)
    [headings] = [line for line in result.stdout.splitlines() if "as it was" in line]
    assert headings.split("  ")[-1].strip() == "as it is"
    assert "fast fixture" not in result.stdout
    assert "original" not in result.stdout
    assert "Both sides take about as long" in result.stdout
    assert f"it has no known cause: run it alone, and again {diagnosis}" in result.stdout
    assert len(result.stdout.splitlines()[0]) == len(headings) + len("ratio  ")

    user.write("tests/test_detect.py", EVERY_SUITE.format("request", "True"))
    user.migrate("apply", "--option", option)
    user.migrate("verify")
    assert way in user.data("status", status=1)["next_step"]


def test_a_client_that_wants_a_broker_of_its_own(user):
    user.write("tests/test_detect.py", "def test_a():\n    connect(1883)\n")
    diagnosis = diagnose_clients(user.repository, "tests/test_detect.py::test_a", "assert 0", [])
    assert diagnosis.startswith("wants a broker of its own, or none, at port 1883")


def test_a_finding_in_the_test_is_a_diagnosis(user):
    user.write("tests/test_a.py", "def test_a():\n    poll()\n\ndef test_b():\n    pass\n")
    findings = [Finding(Path("tests/test_a.py"), 2, "wait", "it waits", "do not", False)]
    diagnoses = [
        diagnose(user.repository, f"tests/test_a.py::test_{name}", "", findings) for name in "ab"
    ]
    assert diagnoses[0].startswith("slept for background work")
    assert diagnoses[1].startswith("has no known cause")


# --- details -------------------------------------------------------------------------------------


def test_texts_are_written_as_they_were_read():
    bom = "\ufeffx = 'é'\r\n".encode()
    assert encode_like(bom, decode(bom, Path("x"))) == bom
    assert encode_like(b"a\r\nb", "c\nd") == b"c\r\nd"
    assert encode_like(b"a\r\nb\n", "a\r\nb\n") == b"a\r\nb\n"
    with pytest.raises(CannotMigrateError, match="x cannot be read"):
        decode(b"\xff", Path("x"))


def test_a_diff_names_missing_line_ends():
    change = Change(Path("a"), b"1\n2", b"1\n3\n")
    assert change.diff().splitlines()[-3:] == ["-2", "\\ No newline at end of file", "+3"]


def test_fixtures_are_looked_up_by_their_module(user):
    from migration.wiring import is_in_effect

    ours = CollectedTest("t", False, {"camera_detector": "tests.optimized_service_fixture"})
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


# --- suites that start brokers without fixtures ---------------------------------------------------

CLIENT = """
import queue
import subprocess
import time
import unittest

from service import new_client

PORT = HARD_PORT


def connected(received):
    client = new_client("")
    client.on_connect = lambda client, *args: client.subscribe("#")
    client.on_subscribe = lambda *args: received.put("subscribed")
    client.on_message = lambda client, userdata, message: received.put(message.payload)
    client.connect("localhost", PORT)
    client.loop_start()
    assert received.get(timeout=5) == "subscribed"
    return client
"""

GATEWAY = """

class Broker:
    def __init__(self, port):
        self.port = port
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["mosquitto", "-p", str(self.port)], stdout=subprocess.DEVNULL
        )
        time.sleep(1)  # give it some time

    def stop(self):
        self.process.terminate()
        self.process.wait()


class GatewayTest(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(PORT)
        self.broker.start()
        self.received = queue.Queue()
        self.client = connected(self.received)

    def tearDown(self):
        self.client.loop_stop()
        self.client.disconnect()
        self.broker.stop()

    def test_echo(self):
        self.client.publish("gateway", "on", retain=True)
        self.assertEqual(self.received.get(timeout=5), b"on")

    def test_the_broker_is_a_new_one(self):
        self.client.publish("end", "end")
        self.assertEqual(self.received.get(timeout=5), b"end")
"""

HOME = """

def start_broker(port=PORT):
    broker = subprocess.Popen(["mosquitto", "-v", "-p", f"{port}"])
    time.sleep(1)
    assert broker.poll() is None
    return broker


def test_echo():
    broker = start_broker()
    received = queue.Queue()
    client = connected(received)
    client.publish("home", "on")
    assert received.get(timeout=5) == b"on"
    client.disconnect()
    broker.terminate()
    assert broker.wait() == 0


def test_a_crash():
    broker = start_broker()
    broker.kill()
    assert broker.wait() == -9
"""

LABORATORY = """

class LaboratoryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = subprocess.Popen(["mosquitto", "-p", "HARD_PORT"])
        time.sleep(5)
        cls.received = queue.Queue()
        cls.client = connected(cls.received)

    @classmethod
    def tearDownClass(cls):
        cls.client.loop_stop()
        cls.client.disconnect()
        cls.broker.terminate()
        cls.broker.wait()

    def test_echo(self):
        self.client.publish("laboratory", "on")
        self.assertEqual(self.received.get(timeout=5), b"on")
"""

HAND_WRITTEN = {
    "gateway": (GATEWAY, "self.process = TestMQTTBroker(port=self.port).start()"),
    "home": (HOME, "broker = TestMQTTBroker(port=port).start()"),
    "laboratory": (LABORATORY, "cls.broker = TestMQTTBroker(port=HARD_PORT).start()"),
}


@pytest.fixture(params=HAND_WRITTEN)
def by_hand(request, user, hard_port):
    """A suite of one file, and the call that takes the place of its broker."""
    text, call = (part.replace("HARD_PORT", str(hard_port)) for part in HAND_WRITTEN[request.param])
    (user.root / "tests/test_detect.py").unlink()
    user.env["PATH"] += os.pathsep + str(Path(find_mosquitto()).parent)
    user.write("tests/test_it.py", CLIENT.replace("HARD_PORT", str(hard_port)) + text)
    return user, call


def test_scan_prints_the_call_that_replaces_a_broker_started_by_hand(by_hand):
    user, call = by_hand
    [found] = [f for f in user.data("scan", status=1)["findings"] if "starts-broker" in f["kind"]]
    assert found["replacement"].startswith(f"{call}, of mqtt_test_broker, for this and the wait")
    assert not found["certain"]  # there is no mqtt_test_broker yet


@NEEDS_LIBCST
@pytest.mark.parametrize("package", [False, True])
def test_fix_replaces_a_broker_started_by_hand(by_hand, package):
    user, call = by_hand
    if package:
        user.write("tests/__init__.py", "")
    assert user.data("apply", "--option", "3", "--dry-run", status=1)["changes"]
    user.wire(3)
    user.migrate("fix")
    text = user.read("tests/test_it.py")
    assert call in text
    assert "Popen" not in text
    assert "time.sleep" not in text
    assert f"from {'.' * package}mqtt_test_broker import TestMQTTBroker\n" in text
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error"],
        cwd=user.root,
        env=user.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout
    assert not any("starts-broker" in found.kind for found in scan(user.root))
    assert user.data("fix", "--dry-run")["changes"] == []


@NEEDS_LIBCST
def test_fix_does_what_the_documentation_shows(user):
    adopting = (ROOT / "docs" / "adopting.md").read_text()
    [example] = [text for text in adopting.split("```") if "subprocess.Popen" in text]
    before, after = example.removeprefix("python\n").replace("  # before", "").split("\n\n")
    after = after.replace("  # after", "").strip()
    begin = "import subprocess\nimport time\n\n\ndef start_broker(port):\n"
    body = indent(before, "    ")
    user.write("tests/test_detect.py", f"{begin}{body}\n    return broker\n")
    user.wire(3)
    user.migrate("fix")
    start = user.read("tests/test_detect.py").partition("def start_broker(port):\n")[2]
    assert start == f"    {after}\n    return broker\n"


@pytest.mark.parametrize(
    ("hand_written", "replacement"),
    [
        ('subprocess.Popen(["mosquitto", "-c", "x.conf"])', "port=..., config_lines=[...]"),
        ('subprocess.Popen(["/usr/sbin/mosquitto"], stdout=1)', "port=1883"),
        ('os.system("mosquitto -d -p 1884")', "port=1884"),
        ('subprocess.Popen(["sudo", "mosquitto"])', "port=..., config_lines=[...]"),
        ('subprocess.Popen(["mosquitto", "-p", port()])', "port=..., config_lines=[...]"),
    ],
)
def test_the_doubtful_start_of_a_broker_stays(user, hand_written, replacement):
    text = f"import os, subprocess, time\n\ndef begin():\n    broker = {hand_written}\n"
    user.write("tests/test_detect.py", f"{text}    work()\n")
    user.wire(3)
    found = [f for f in user.data("scan", status=1)["findings"] if "starts-broker" in f["kind"]]
    assert [f["certain"] for f in found] == [False]
    assert f"broker = TestMQTTBroker({replacement}).start()" in found[0]["replacement"]


def test_a_process_that_is_talked_to_stays(user):
    start = 'broker = subprocess.Popen(["mosquitto"])\n    time.sleep(1)\n'
    head = "import subprocess, time\n\ndef begin():\n    "
    user.write("tests/test_detect.py", f"{head}{start}    return broker\n")
    user.wire(3)
    kinds = {f["kind"]: f["certain"] for f in user.data("scan", status=1)["findings"]}
    assert kinds["helper-starts-broker"]
    user.write("tests/test_log.py", "def test_log():\n    assert begin().stderr.read()\n")
    kinds = {f["kind"]: f["certain"] for f in user.data("scan", status=1)["findings"]}
    assert not kinds["helper-starts-broker"]
