"""`migrate.py` scan, fix, status and verify, and what verify makes of a failure."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import migrate
import pytest
from helpers.drop_in import ALL_MODULES, copy_modules
from helpers.migrating_user import (
    FINDING_AT_ONCE,
    LINES,
    NEEDS_LIBCST,
    SCRIPT,
    SLEEPING,
    SLOW,
    with_slow_fixture,
)
from migration.diagnosis import BACKGROUND, diagnose, diagnose_clients
from migration.findings import Finding
from migration.state import FOLDER
from shared import environment


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


@pytest.mark.slow
def test_a_test_that_was_run_for_what_is_not_there_any_more_shows_nothing(user):
    user.migrate("apply")
    (user.root / "tests" / "mqtt_test_broker.py").unlink()  # option 2 does without it
    item = user.data("status", status=1)["items"][2]
    assert not item["done"]
    assert "option 1 is gone since" in item["evidence"]


@pytest.mark.parametrize("package", ["rich", "libcst", "ruff"])
def test_what_this_python_lacks_our_environment_has(monkeypatch, package):
    went_on = []
    monkeypatch.setattr(environment.os, "execv", lambda *command: went_on.append(command))
    monkeypatch.setattr(environment, "ENVIRONMENT", Path(sys.prefix) / "another")
    monkeypatch.setattr(environment.os, "access", lambda *_args: True)
    monkeypatch.setattr(sys, "argv", ["migrate.py", "fix", "."])
    environment.require(migrate.NEEDED, "--run-by", "python")
    assert went_on == []
    monkeypatch.setitem(sys.modules, package, None)
    environment.require(migrate.NEEDED, "--run-by", "python")
    [(python, words)] = went_on
    assert words == [python, "migrate.py", "--run-by", "python", "fix", "."]


def test_without_our_environment_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(environment, "ENVIRONMENT", Path("nowhere"))
    monkeypatch.setitem(sys.modules, "ruff", None)
    with pytest.raises(SystemExit, match="2"):
        environment.require(migrate.NEEDED)
    assert "ruff is missing: run `make setup`" in capsys.readouterr().err


def test_what_somebody_has_wired_by_hand_is_fine(user):
    user.write("tests/conftest.py", LINES)
    copy_modules(ALL_MODULES, user.root / "tests")
    assert user.data("apply")["changes"] == []
    items = user.data("status", status=1)["items"]
    assert [item["done"] for item in items[:3]] == [True] * 3


def test_verify_before_apply(user):
    assert "Next: apply" in user.migrate("verify", status=1).stdout
    assert not (user.root / FOLDER).exists()


@NEEDS_LIBCST
@pytest.mark.slow
def test_verify_says_what_became_worse_and_why(user):
    better = "\ndef test_better(camera_detector): camera_detector.test_run_discovery_once()\n"
    user.write("pytest.ini", "[pytest]\ntestpaths = tests\n")  # linked to by the copy
    user.write("service.py", FINDING_AT_ONCE)
    slow = with_slow_fixture(SLEEPING.replace("sleep(2)", "sleep(0.01)"))
    user.write("tests/test_detect.py", slow + better)
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
    assert "Good: it is in effect, and no test has become worse." in text
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
    said = user.run("verify", status=2).stderr.splitlines()[-1]
    assert "before, no test has ended: tests/test_detect.py: ModuleNotFoundError: No module" in said
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "fixture", "diagnosis", "way"),
    [
        (2, "fix_concurrent_futures", "without the import of fix_concurrent", "option 2 mends"),
        (
            3,
            "prompt_mqtt_clients",
            "without redirect_to_test_broker(), and",
            "lists them; then verify",
        ),
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
    assert f"it has no known cause: run it alone, and again {diagnosis}" in result.stdout
    assert len(result.stdout.splitlines()[0]) == len(headings) + len("ratio  ")

    user.write("tests/test_detect.py", EVERY_SUITE.format("request", "True"))
    user.migrate("apply", "--option", option)
    said = user.migrate("verify", status=0 if option == 2 else 1).stdout
    assert "Both sides take about as long" in said
    assert way in user.data("status", status=1)["next_step"]


def test_a_client_that_wants_a_broker_of_its_own(user):
    user.write("tests/test_detect.py", "def test_a():\n    connect(1883)\n")
    diagnosis = diagnose_clients(user.repository, "tests/test_detect.py::test_a", "assert 0", [])
    assert diagnosis.startswith("wants a broker of its own, or none, at a port")


def test_a_finding_in_the_test_is_a_diagnosis(user):
    user.write("tests/test_a.py", "def test_a():\n    poll()\n\ndef test_b():\n    pass\n")
    findings = [Finding(Path("tests/test_a.py"), 2, "wait", "it waits", "do not", False)]
    diagnoses = [
        diagnose(user.repository, f"tests/test_a.py::test_{name}", "", findings) for name in "ab"
    ]
    assert diagnoses[0].startswith("slept for background work")
    assert diagnoses[1].startswith("has no known cause")


@pytest.mark.slow
def test_verify_of_one_file_names_the_slowest_and_what_they_wait_for(user):
    user.write("service.py", FINDING_AT_ONCE)
    explicit = "time.sleep(0.3); camera_detector._run_full_discovery()"
    text = with_slow_fixture(SLEEPING.replace("time.sleep(2)", explicit))
    user.write("tests/test_detect.py", text)
    user.write("tests/test_other.py", "def test_other(): assert 0\n")
    user.wire(1)
    words = ("--", "tests/test_detect.py", "-k", "discovery or nothing")
    verified = user.data("verify", *words)
    assert verified["after"] == {"passed": 1}
    assert verified["reasons"] == []
    [slow] = verified["slowest"]
    assert slow["nodeid"] == "tests/test_detect.py::test_discovery"
    place = {**slow["waits"][0], "seconds": 0.3}
    assert place == {"file": "tests/test_detect.py", "line": 15, "kind": "sleep", "seconds": 0.3}
    assert user.state.evidence is None  # it was not the suite


def test_what_is_not_in_effect_is_not_good(user):
    parametrized = SLOW.replace("fixture\n", "fixture(params=[1])\n").replace("r():", "r(request):")
    user.write("tests/test_detect.py", parametrized)
    user.wire(1)
    result = user.migrate("verify", status=1)
    last = result.stdout.splitlines()[-1]
    assert last.startswith("Not good: camera_detector in tests/test_detect.py was left as it is: ")
    assert "it is parametrized" in last


@pytest.mark.slow
def test_a_hanging_test_is_named_and_the_run_ends(user):
    hangs = "\ndef test_hangs():\n    import threading\n    threading.Event().wait()\n"
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    user.write("tests/test_z.py", hangs)
    user.wire(2)
    verified = user.data("verify", "--timeout", "2", status=1)
    assert verified["reasons"][0] == (
        "after, it hangs in tests/test_z.py::test_hangs, at tests/test_z.py:4, which waits for "
        "another thread. What comes after was not run; leave it out: -- --deselect "
        "tests/test_z.py::test_hangs"
    )
    assert user.data("verify", "--", "--deselect", "tests/test_z.py::test_hangs")["reasons"] == []
    alone = user.migrate("verify", "--timeout", "2", "--", "tests/test_z.py", status=2).stderr
    assert alone.endswith("; leave it out: -- --deselect tests/test_z.py::test_hangs\n")


@pytest.mark.slow
def test_a_test_that_ends_pytest_is_named(user):
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    user.write("tests/test_z.py", "import os\ndef test_dies(): os._exit(3)\n")
    user.wire(2)
    assert user.data("verify", status=1)["reasons"][0] == (
        "after, pytest died in tests/test_z.py::test_dies. What comes after was not run; leave it "
        "out: -- --deselect tests/test_z.py::test_dies"
    )


FLAKY = """
from pathlib import Path

def test_flaky():
    marks = Path({folder!r})
    mark = f"before-{{len(list(marks.iterdir()))}}"
    (marks / mark).touch()
    assert mark in {passing}
"""


@pytest.mark.parametrize(
    ("passing", "is_good"),
    [
        (["before-0"], True),  # as it was, it passed, then failed
        (["before-0", "before-2", "before-3"], False),
    ],
)
@pytest.mark.slow
def test_a_flaky_test(user, tmp_path, passing, is_good):
    marks = tmp_path / "marks"
    marks.mkdir()
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    user.write("tests/test_flaky.py", FLAKY.format(folder=str(marks), passing=passing))
    user.wire(2)
    verified = user.data("verify", status=0 if is_good else 1)
    said = verified["remarks"] if is_good else [r["diagnosis"] for r in verified["regressions"]]
    assert ("was unsteady before" if is_good else "passed as it was run again") in said[0]


def test_a_broker_that_the_before_side_misses_is_named(user, hard_port):
    connects = f"""
import pytest, socket

@pytest.fixture
def camera_detector():
    return socket.create_connection(("localhost", {hard_port}))

def test_it(camera_detector): pass
"""
    user.write("tests/test_detect.py", "from service import CameraDetector\n" + connects)
    user.wire(1)
    verified = user.data("verify", status=None)
    expected = (
        f"the before side got no connection to localhost:{hard_port}, where nothing answers: "
        "1 test failed there"
    )
    assert verified["remarks"][0].startswith(expected)
    assert verified["newly_passing"] == ["tests/test_detect.py::test_it"]


@pytest.mark.slow
def test_a_suite_of_500_files(user):
    text = "import time\nfrom service import CameraDetector\n\n"
    for number in range(500):
        tests = "".join(f"def test_{n}():\n    assert CameraDetector\n\n" for n in range(3))
        user.write(f"tests/part_{number % 20}/test_{number}.py", text + tests)
    user.write("tests/part_7/test_broken.py", "import missing_package\n")
    began = time.monotonic()
    user.data("status", status=1)
    user.data("scan", status=None)
    data = user.data("apply", "--option", 2)
    assert data["proof"]["works"]
    assert data["uncollected"].keys() == {"tests/part_7/test_broken.py"}
    verified = user.data("verify", "--", "tests/part_1", "tests/part_7")
    assert verified["after"] == {"passed": 150}
    assert time.monotonic() - began < 120
