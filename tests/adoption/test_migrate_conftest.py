"""What `migrate.py apply` writes into conftest.py, and beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.migrating_user import (
    FINDING_AT_ONCE,
    LINES,
    NEEDS_LIBCST,
    SLEEPING,
    SLOW,
    conftest_after,
    plan,
    refuse,
    with_slow_fixture,
)
from migration.conftest_text import with_imports


@NEEDS_LIBCST
@pytest.mark.slow
def test_tests_in_no_folder_of_their_own(user):
    (user.root / "tests" / "test_detect.py").unlink()
    user.write("test_detect.py", with_slow_fixture(SLEEPING.replace("sleep(2)", "sleep(0.01)")))
    user.write("service.py", FINDING_AT_ONCE)
    user.write(".venv/lib/broken.py", "def :\n")
    before = user.files()
    user.migrate("apply", "--tests", ".")
    assert user.read("conftest.py") == LINES
    assert user.data("fix")["findings"] == []  # without --tests: apply has noted it
    verified = user.data("verify")
    assert verified["before"] == verified["after"] == {"passed": 2}
    assert user.data("status")["items"][4]["done"]
    user.write(".venv/lib/other.py", "")
    assert user.data("status")["items"][4]["done"]
    (user.root / ".venv" / "lib" / "other.py").unlink()
    user.migrate("rollback")
    assert user.files() == before


PLUGIN = """
import pytest

@pytest.fixture{}
def {}():
    raise AssertionError("the slow fixture was used")
"""


@pytest.mark.slow
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


@pytest.mark.slow
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
        ("import os\n", f"import os\n\n{LINES}"),
        ("\nimport os\nx = 1\n", f"\nimport os\n{LINES}x = 1\n"),
        (
            "import os\nx = 1\nimport sys  # noqa: E402\n",
            f"import os\n{LINES}x = 1\nimport sys  # noqa: E402\n",
        ),
        (
            "import sys\nsys.path.append('a')\nimport b  # noqa: E402\nx = 1\n",
            "import sys\nsys.path.append('a')\nimport b  # noqa: E402\n"
            f"{LINES.replace('F401', 'E402, F401')}x = 1\n",
        ),
        ('"""Doc."""', f'"""Doc."""\n\n{LINES}'),
        ('"""Doc\n\nmore\n"""\nx = 1\n', f'"""Doc\n\nmore\n"""\n\n{LINES}\nx = 1\n'),
        (
            "from __future__ import annotations\n\nimport os",
            f"from __future__ import annotations\n\nimport os\n\n{LINES}",
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
    alone = "from camera_detector_optimized_fixture import camera_detector_fast  # noqa: F401\n"
    assert len(alone.strip()) > 79
    lines = LINES.replace("    pytest_sessionfinish,\n", "")
    gap = {"from": "", "def ": "\n\n"}.get(own[:4], "\n")
    expected = f"{lines}{gap}{own}"
    assert conftest_after(user).decode() == expected


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


def test_a_module_that_was_edited_since_is_left_alone(user):
    user.wire(2)
    with user.root.joinpath("tests", "concurrent_futures_fix.py").open("a") as file:
        file.write("# mine\n")
    edited = user.files()
    user.wire(2)
    assert user.files() == edited


SORTED_CONFTEST = '''"""Fixtures."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def folder():
    return Path(os.curdir)
'''
RUFF = '[tool.ruff.lint]\nselect = ["E", "F", "I", "W"]\n'


@pytest.mark.parametrize("before", ["", SORTED_CONFTEST])
@pytest.mark.parametrize("option", [1, 2, 3])
def test_what_is_written_passes_the_linters_that_it_passed_before(user, option, before):
    user.write("pyproject.toml", RUFF)
    user.write("service.py", "")
    user.write("tests/conftest.py", before)
    user.wire(option)
    ruff = Path(sys.executable).with_name("ruff")
    for command in (
        [ruff, "check", "--no-cache", "tests/conftest.py"],
        [ruff, "format", "--no-cache", "--check", "tests/conftest.py"],
        [sys.executable, "-m", "flake8", "tests/conftest.py"],
    ):
        result = subprocess.run(command, cwd=user.root, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + user.read("tests/conftest.py")


def test_without_settings_of_ruff_the_lines_are_flake8s(user):
    user.write("tests/conftest.py", SORTED_CONFTEST)
    user.wire(3)
    command = [sys.executable, "-m", "flake8", "tests/conftest.py"]
    result = subprocess.run(command, cwd=user.root, capture_output=True, text=True, check=False)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("there", "after"),
    [
        ("from a import b  # noqa: F401\n", "from a import c, b  # noqa: F401\n"),
        ("from a import b\n", "from a import b\nfrom a import c  # noqa: F401\n"),
        ("from .a import b\n", "from .a import b\nfrom a import c  # noqa: F401\n"),
        ("from a import *\n", "from a import *\nfrom a import c  # noqa: F401\n"),
    ],
)
def test_a_line_takes_names_from_its_module_if_its_comment_is_true_of_them(there, after):
    assert with_imports(there, "from a import c  # noqa: F401\n") == after
