"""What `scripts/migrate.py scan` is silent about, and which files it reads."""

import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest
from helpers.drop_in import TESTS
from helpers.scanned_repository import WAIT, findings

ORDINARY_TESTS = sorted((TESTS / "helpers" / "ordinary_tests").glob("*.txt"))


@pytest.mark.parametrize("text", ORDINARY_TESTS, ids=lambda path: path.stem)
def test_nothing_is_found_in_ordinary_tests(repo, text):
    repo.write(f"tests/test_{text.stem}.py", text.read_text())
    assert repo.scan() == []
    assert repo.fixed() == {}


def test_nothing_is_found_in_ordinary_tests_of_a_repository_with_mqtt(repo):
    """Next to a conftest with brokers and clients, and importing paho themselves."""
    repo.write("tests/conftest.py", "from mqtt_test_broker import test_mqtt_broker\n")
    for text in ORDINARY_TESTS:
        if text.stem not in ("websocket", "message_queue"):  # these would be about MQTT then
            lines = "import paho.mqtt.client as mqtt\n" + text.read_text()
            repo.write(f"tests/test_{text.stem}.py", lines)
    assert repo.scan() == []


def test_there_are_sixty_ordinary_tests():
    assert len(ORDINARY_TESTS) >= 60


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(1)\nassert time.time() > 0",
        "time.sleep(0)\nassert camera_detector.cameras",
        "assert camera_detector.cameras\ntime.sleep(1)",
        "def work():\n    time.sleep(1)\nassert camera_detector.cameras",
        "camera_detector.test_run_discovery_once()\nassert camera_detector.cameras",
    ],
)
def test_these_are_no_waits(repo, body):
    text = f"import time\ndef test_it(camera_detector):\n{indent(body, '    ')}\n"
    repo.write("tests/test_it.py", text)
    assert repo.scan() == []


def test_what_is_not_ours_to_read_is_left_out(repo):
    for folder in (".venv/lib", "node_modules/a", "build/lib", ".git", "x.egg-info", "own-venv"):
        repo.write(f"{folder}/tests/test_it.py", WAIT)
    repo.write("own-venv/pyvenv.cfg", "")
    repo.write("service/main.py", WAIT)
    for name in findings.OUR_MODULES:
        repo.write(f"tests/{name}.py", (TESTS / f"{name}.py").read_bytes())
    assert repo.scan() == []
    repo.write("tests/mqtt_test_broker.py", WAIT)  # not ours, though it is called so
    assert [str(f.path) for f in repo.scan()] == ["tests/mqtt_test_broker.py"]


def test_findings_are_in_order(repo):
    for name in ("b/test_x.py", "a/test_y.py", "conftest.py"):
        repo.write(name, WAIT + WAIT)
    places = [(f.path, f.line) for f in repo.scan()]
    assert places == sorted(places)
    assert len(places) == 6
    assert not any(path.is_absolute() for path, _ in places)


@pytest.mark.parametrize(
    "content",
    [b"def test_it(:\n", b"\xff\xfe\x00", b"x = '\xe9'\n", b"# coding: klingon\n", b"a = 1\0\n"],
    ids=["syntax", "utf-16", "latin-1", "encoding", "null"],
)
def test_a_file_that_cannot_be_parsed_is_a_finding(repo, content):
    repo.write("tests/test_bad.py", content)
    repo.write("tests/test_good.py", WAIT)
    bad, good = repo.scan()
    assert (bad.kind, bad.path, bad.certain) == ("unreadable", Path("tests/test_bad.py"), False)
    assert good.certain
    assert list(repo.fixed()) == [Path("tests/test_good.py")]
    assert findings.commented_leftovers(repo.folder) == []


def test_a_file_that_is_nested_too_deeply_is_a_finding(repo):
    repo.write("tests/test_bad.py", b"x = " + b"(" * 5000 + b")" * 5000)
    [bad] = repo.scan()
    assert bad.kind == "unreadable"


def test_scan_needs_the_standard_library_only():
    code = "import sys; sys.modules['libcst'] = None; import migration.findings"
    subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent / "scripts", check=True)
