"""scripts/verify_speedup.py, on throw-away repositories with a fixture that is slow on demand."""

import io
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from helpers.processes import is_alive
from helpers.verifying import (
    CONFTEST,
    FIVE_TESTS,
    SCRIPT,
    SLOWNESS,
    Repo,
    run,
    timing,
)
from shared.environment import ENVIRONMENT
from shared.formatting import duration, factor
from shared.progress import Progress
from shared.tables import as_text
from speedup import running
from speedup.command import load, parse, suite_of
from speedup.comparison import Comparison
from speedup.probe import spread
from speedup.report import notes, table
from speedup.run import AFTER, BEFORE
from speedup.running import run_sample


def row(table, label):
    [line] = [line for line in table.splitlines() if line.startswith(label)]
    return line[len(label) :].split()


def bars_of(svg):
    """Return the tip and the height of each bar of a picture."""
    groups = [element for element in svg.iter() if element.get("class") == "bar"]
    return [(group[0].text, height_of(group[1])) for group in groups]


def height_of(path):
    numbers = [float(number) for number in re.findall(r"[\d.]+", path.get("d"))]
    return max(numbers[1::2]) - min(numbers[1::2])


def draw(comparison):
    return load("picture")(comparison)


def nodeids(side):
    return [test["nodeid"] for test in side["tests"]]


# --- what is measured ----------------------------------------------------------------------------


def test_both_sides_in_full(repo):
    repo.env["CAMERA_DETECTOR_FIXTURE"] = "original"  # the script's to set and to remove
    picture = repo.folder / "docs" / "picture.svg"
    figures, table = repo.figures("--full", "--picture", picture)

    before, after = figures["before"], figures["after"]
    expected = [f"test_one.py::test_it[{number}]" for number in range(5)]
    assert nodeids(before) == nodeids(after) == expected
    assert all(test["outcome"] == "passed" for test in before["tests"] + after["tests"])
    assert all(test["setup"] >= SLOWNESS for test in before["tests"])
    assert all(test["overhead"] == test["setup"] + test["teardown"] for test in before["tests"])
    assert before["worst_overhead"] == max(test["overhead"] for test in before["tests"])
    assert before["whole_run_seconds"] == pytest.approx(before["measured_seconds"])
    assert before["measured_seconds"] > 5 * SLOWNESS
    assert 0 < before["exit_seconds"] < before["measured_seconds"]
    assert figures["median_overhead"]["before"] >= SLOWNESS > figures["median_overhead"]["after"]
    assert figures["speed_up"]["median_overhead"] > 1.5
    assert figures["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert figures["versions"]["pytest"] == pytest.__version__
    assert figures["problems"] == figures["remarks"] == []

    assert row(table, "tests run") == ["5", "5"]
    median = duration(figures["median_overhead"]["before"])
    assert " ".join(row(table, "overhead per test, median")).startswith(median)
    assert row(table, "errors after the last test") == ["none", "none"]
    assert "Extrapolated" not in table

    svg = ET.parse(picture).getroot()
    bars = bars_of(svg)
    assert len(bars) == 2 * 5
    assert all(height > 0 for _, height in bars)
    tips = [tip.partition(": ")[0] for tip, _ in bars]
    assert set(tips) == {f"test_one.py::test_it[{number}]" for number in range(5)}
    texts = " ".join(svg.itertext())
    assert all(unit in texts for unit in ("1 ms", "10 ms", "100 ms", "1 s", "10 s"))


@pytest.mark.skipif(not ENVIRONMENT.exists(), reason="needs what `make setup` makes")
def test_a_python_without_rich_runs_the_tests_all_the_same(repo):
    python = repo.write("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = [sys.executable, "-S", *repo.command("--full", "--python", python)[1:]]
    result = subprocess.run(command, env=repo.env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert row(result.stdout, "tests run") == ["5", "5"]


def test_output_to_a_file_is_plain_and_whole(repo):
    repo.env.update(FORCE_COLOR="1", COLUMNS="40")
    result = repo.verify("--full")
    assert "\x1b" not in result.stdout + result.stderr
    assert "  original fixture  fast fixture\n" in result.stdout


def test_progress_on_a_terminal_is_a_line_that_goes_away(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    progress = Progress()
    progress.show("before", 2, 5, "tests (of 9)", "test_one.py::test_it[2]")
    shown = terminal.getvalue()
    assert "2/5" in shown
    assert "tests (of 9)" in shown
    assert "test_one.py::test_it[2]" in shown
    progress.clear()
    erase_line, show_cursor = "\x1b[2K", "\x1b[?25h"
    cleared = terminal.getvalue()[len(shown) :]
    assert erase_line in cleared
    assert show_cursor in cleared


def test_sample_is_extrapolated(repo):
    repo.write("test_one.py", FIVE_TESTS.replace("range(5)", "range(100)"))
    figures, table = repo.figures("--budget", "1.5")

    before, after = figures["before"], figures["after"]
    ran = len(before["tests"])
    assert 1 <= ran < 100 == before["collected"] == len(after["tests"])
    assert figures["compared_tests"] == ran
    assert nodeids(before)[0] == "test_one.py::test_it[0]"
    assert before["sampled"]
    assert not after["sampled"]
    assert before["whole_run_seconds"] > 100 * SLOWNESS > before["measured_seconds"]
    assert row(table, "tests run") == [str(ran), "of", "100", "100"]
    assert row(table, "whole run")[0].startswith("~")
    assert f"{ran} of 100 tests were sampled" in table


def test_sample_ends_in_order_when_its_tests_take_longer_than_thought(repo, in_process):
    slow = "@pytest.mark.parametrize('number', range(100))\ndef test_slow(thing, number): pass"
    session_long = """
@pytest.fixture(scope="session", autouse=True)
def session_long():
    yield
    open("torn-down", "w").close()
"""
    repo.write("conftest.py", CONFTEST + session_long)
    repo.write("test_one.py", f"import pytest\n\ndef test_quick(): pass\n\n{slow}")

    ran = repo.run_before(tests=50, seconds=0.3)

    assert ran.stopped
    assert ran.collected == 101
    assert ran.planned == 50
    assert 2 <= len(ran.tests) <= 0.3 / SLOWNESS
    assert not ran.cut_off
    assert ran.problems() == []
    assert (repo.folder / "torn-down").exists()


def test_sample_does_not_depend_on_the_order_of_the_tests(repo, in_process):
    shuffle = "def pytest_collection_modifyitems(items): items.reverse()\n"
    repo.write("conftest.py", CONFTEST + shuffle)
    ran = repo.run_before(tests=2)
    assert [test.nodeid[-3:] for test in ran.tests] == ["[2]", "[0]"]


def test_connections_and_brokers_are_counted(repo):
    broker = repo.write("bin/mosquitto", "#!/bin/sh\necho mosquitto version 9.8.7\n")
    broker.chmod(0o755)
    repo.write("paho/__init__.py", "")
    repo.write("paho/mqtt/__init__.py", "")
    repo.write(
        "paho/mqtt/client.py",
        """
class Client:
    def connect(self, works=True):
        return self.reconnect(works) if not works else self.reconnect()
    def reconnect(self, works=True):
        if not works:
            raise ConnectionRefusedError
""",
    )
    repo.write(
        "test_one.py",
        f"""
import importlib, os, subprocess, sys
from conftest import IS_SLOW

def test_connections():
    import paho.mqtt.client
    for _ in range(3 if IS_SLOW else 1):
        paho.mqtt.client.Client().connect()
    for name in [name for name in sys.modules if name.startswith("paho")]:
        del sys.modules[name]
    import paho.mqtt.client

def test_another_paho():
    import paho.mqtt.client
    paho.mqtt.client.Client().connect()

def test_broker(thing):
    subprocess.run([{str(broker)!r}], stdout=subprocess.DEVNULL)
    subprocess.run(["true", "mosquitto"])
    subprocess.run([{str(broker)!r}, "-h"], stdout=subprocess.DEVNULL)  # is asked what it is
    if not os.fork():  # whose files may be others than the script thinks
        subprocess.run([{str(broker)!r}], stdout=subprocess.DEVNULL)
        os._exit(0)
    os.wait()
""",
    )
    figures, table = repo.figures("--full")
    assert row(table, "MQTT connections opened") == ["4", "2"]
    assert row(table, "brokers started") == ["1", "1"]
    assert figures["versions"]["mosquitto"] == "9.8.7"


def test_refused_connections_are_not_counted(repo, in_process):
    repo.write(
        "test_one.py",
        """
import paho.mqtt.client as mqtt
import pytest, socket

def test_refused(thing):
    versions = [mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(OSError):
            mqtt.Client(*versions).connect(*deaf.getsockname())
""",
    )
    ran = repo.run_before()
    assert [test.outcome for test in ran.tests] == ["passed"]
    assert ran.connections == 0


def test_errors_after_the_last_test(repo):
    late = """
import atexit, sys

print("too early", file=sys.stderr)

if IS_SLOW:
    atexit.register(print, "late\\n\\ntoo late", file=sys.__stderr__)
    atexit.register(print, "much too late")
"""
    repo.write("conftest.py", CONFTEST + late)
    figures, table = repo.figures("--full")
    assert figures["before"]["errors_after_last_test"] == ["late", "too late", "much too late"]
    assert figures["after"]["errors_after_last_test"] == []
    assert row(table, "errors after the last test") == ["3", "lines", "none"]
    assert "before, after the last test: too late" in table


# --- what goes wrong -----------------------------------------------------------------------------


def test_failure_is_listed_with_its_side(repo):
    repo.write(
        "test_one.py",
        """
import pytest
from conftest import IS_SLOW

def test_fine(thing):
    pass

def test_broken(thing):
    assert IS_SLOW, "only before"

@pytest.fixture
def untidy():
    yield
    raise OSError("left open")

def test_untidy(untidy):
    pass
""",
    )
    figures, table = repo.figures("--full", status=1)
    assert row(table, "tests failed") == ["1", "2"]
    assert "Failed: after: test_one.py::test_broken: failed: AssertionError: only before" in table
    assert "Failed: before: test_one.py::test_untidy: error: OSError: left open" in table
    assert "Failed: differs: test_one.py::test_broken: passed before, failed after" in table
    assert len(figures["problems"]) == 4


def test_difference_is_listed_although_nothing_fails(repo):
    repo.write(
        "test_one.py",
        """
import pytest
from conftest import IS_SLOW

def test_fine(thing):
    pass

@pytest.mark.skipif(IS_SLOW, reason="slow")
def test_sometimes(thing):
    pass

@pytest.mark.parametrize("fixture", ["original"] if IS_SLOW else ["fast"])
def test_name(thing, fixture):
    pass
""",
    )
    figures, _ = repo.figures("--full", status=1)
    assert figures["problems"] == [
        "differs: test_one.py::test_sometimes: skipped before, passed after",
        "differs: test_one.py::test_name[original]: not run after",
        "differs: test_one.py::test_name[fast]: not run before",
    ]


RUNS_AGAIN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item):  # as pytest-rerunfailures does it
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for outcome in ("rerun", "passed"):
        for report in runtestprotocol(item, log=False):
            report.outcome = outcome if report.when == "call" else report.outcome
            item.ihook.pytest_runtest_logreport(report=report)
    return True

def pytest_report_teststatus(report):
    return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None
"""


def test_a_test_that_is_run_again_counts_once(repo, in_process):
    repo.write("conftest.py", RUNS_AGAIN)
    repo.write("test_one.py", "def test_it(): pass\n")
    [test] = repo.run_before().tests
    assert (test.nodeid, test.outcome) == ("test_one.py::test_it", "passed")


def test_death_in_a_test_is_listed(repo, in_process):
    repo.write("test_two.py", "import os\ndef test_crash(): os._exit(7)\n")
    problems = repo.run_before().problems()
    assert problems == ["before: pytest died (status 7) in test_two.py::test_crash"]


def test_death_of_a_worker_is_listed(repo):
    pytest.importorskip("xdist")
    repo.write("test_two.py", "import os\ndef test_crash(): os._exit(7)\n")
    figures, table = repo.figures("--full", "--", "-p", "xdist", "-n", "1", status=1)
    assert row(table, "tests run") == ["6", "6"]
    before, _ = figures["problems"]
    assert before.startswith("before: test_two.py::test_crash: failed: worker 'gw0' crashed")


def test_what_is_not_collected_is_listed(repo):
    repo.write("test_two.py", "import no_such_module\n")
    words = ("--full", "--", "--continue-on-collection-errors")
    figures, _ = repo.figures(*words, status=1)
    before, after = figures["problems"]
    assert before.startswith("before: not collected: test_two.py: ImportError while importing")
    assert after.startswith("after: not collected: test_two.py: ")


def test_what_has_run_before_a_death_is_no_sample():
    sides = [run(side, timing("a", 0.1), collected=3, finished=False) for side in (BEFORE, AFTER)]
    text = "\n".join(
        notes(Comparison(*sides), {"machine": "", "cpus": 2, "versions": {}, "date": ""})
    )
    assert "~  Extrapolated: before, 1 of 3 tests have run." in text
    assert "~  Extrapolated: after, 1 of 3 tests have run." in text
    assert "sample" not in text


def test_halves_of_characters_are_written(repo):
    repo.write("test_one.py", 'def test_bad(thing): raise OSError("half \\udcff")')
    figures, table = repo.figures("--full", "--picture", repo.folder / "p.svg", status=1)
    assert figures["problems"][0] == "before: test_one.py::test_bad: failed: OSError: half ?"
    assert "OSError: half ?" in table


def test_a_fixture_that_was_not_replaced_is_suspected(repo):
    repo.write(
        "conftest.py",
        CONFTEST.replace("if IS_SLOW", "if True")
        + """
def pytest_terminal_summary(terminalreporter):
    terminalreporter.line("thing: nothing was overridden.")
""",
    )
    _, table = repo.figures("--full")
    assert "Note: Both sides take about as long, or after takes longer: was any fixture" in table
    assert "Note: thing: nothing was overridden." in table


def no_folder(repo):
    return ["--repo", repo.folder / "nowhere"], "there is no folder"


def no_python(repo):
    return ["--python", "/nowhere/python"], "there is no Python /nowhere/python"


def python_without_pytest(repo):
    bare = repo.write("python", f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    return ["--python", bare], "this Python has none, name one that has with --python"


def no_tests(repo):
    return ["--full", "--", "-k", "nothing"], "pytest has collected no tests"


def no_such_test(repo):
    return ["test_nowhere.py"], "file or directory not found: test_nowhere.py"


def broken_conftest(repo):
    repo.write("conftest.py", "import nowhere_to_be_found\n")
    return [], "No module named 'nowhere_to_be_found'"


def broken_module(repo):
    repo.write("test_one.py", "1 / 0\n")
    return [], "division by zero"


@pytest.mark.parametrize(
    "case",
    [
        no_folder,
        no_python,
        python_without_pytest,
        no_tests,
        no_such_test,
        broken_conftest,
        broken_module,
    ],
)
def test_what_cannot_run_is_one_clear_error(repo, case):
    words, message = case(repo)
    result = repo.verify(*words, status=2)
    assert result.stdout == ""
    assert "verify_speedup: " in result.stderr
    assert message in result.stderr


@pytest.mark.slow
def test_parallel_tests_are_not_sampled(repo):
    pytest.importorskip("xdist")
    result = repo.verify("--", "-p", "xdist", "-n", "2", status=2)
    assert "give `-- -n0` (pytest-xdist), or --full" in result.stderr


@pytest.mark.slow
def test_parallel_tests_in_full(repo):
    pytest.importorskip("xdist")
    figures, _ = repo.figures("--full", "--", "-p", "xdist", "-n", "2")
    for side in ("before", "after"):
        assert sorted(nodeids(figures[side])) == [f"test_one.py::test_it[{n}]" for n in range(5)]


# --- processes -----------------------------------------------------------------------------------


def test_a_process_that_does_not_exit_is_ended(repo, in_process, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 0.2)
    repo.write(
        "test_one.py",
        """
import os, threading

def test_stays(thing):
    open("pid", "w").write(str(os.getpid()))
    threading.Thread(target=threading.Event().wait).start()
""",
    )
    ran = repo.run_before()
    assert ran.noise == []  # none from ending it either
    assert not is_alive(int((repo.folder / "pid").read_text()))

    comparison = Comparison(ran, run(AFTER, timing(ran.tests[0].nodeid, 0.001)))
    assert row(as_text(table(comparison)), "last test to exit")[0].startswith(">")
    assert comparison.problems() == []
    [remark] = comparison.remarks()
    assert remark.startswith("before: pytest was ended by force after its last test")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_ends_everything(repo, number):
    pids = repo.folder / "pids"
    os.mkfifo(pids)
    repo.write(
        "test_one.py",
        """
import os, pytest, subprocess, threading

@pytest.fixture
def tidy():
    yield
    open("torn-down", "w").close()

def test_blocks(tidy):
    child = subprocess.Popen(["sh", "-c", "trap '' INT; exec sleep 60"])
    with open("pids", "w") as pids:
        pids.write(f"{os.getpid()} {child.pid}")
    threading.Event().wait()
""",
    )
    process = subprocess.Popen(
        repo.command(), env=repo.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        ours = [int(pid) for pid in pids.read_text().split()]  # waits until they are written
        assert all(map(is_alive, ours))
        assert process.stderr.readline().startswith("before: 0 of 1 tests")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors == "verify_speedup: interrupted\n"
    assert (repo.folder / "torn-down").exists()
    assert not any(map(is_alive, ours))


# --- the parts -----------------------------------------------------------------------------------


def test_spread_begins_with_the_first_and_covers_all():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(51), 4) == [0, 12, 25, 38]
    assert spread(range(3), 1) == [0]
    assert spread(range(3), 7) == [0, 1, 2]


@pytest.mark.parametrize(
    ("budget", "fitting"),
    [
        (60.0, [(1, 60.0), (13, 52.0)]),  # the first took 4 s, and each start and exit takes 2 s
        (6000.0, [(1, 6000.0), (51, 5992.0)]),
        (11.9, [(1, 11.9)]),
        (1.0, [(1, 1.0)]),
    ],
)
def test_as_many_tests_are_sampled_as_fit(monkeypatch, budget, fitting):
    calls = []

    def run_tests(suite, side, progress, tests, seconds):
        calls.append((tests, seconds))
        return run(side, timing("a", 3.0, 1.0), collected=51, seconds=6.0)

    monkeypatch.setattr(running, "run_tests", run_tests)
    run_sample(None, budget, None)
    assert calls == fitting


def test_whole_run_is_extrapolated_by_its_tests_alone():
    sample = run(BEFORE, timing("a", 3.0, 1.0), timing("b", 5.0, 1.0), collected=10)
    sample.seconds = 12.0  # 2 s of them for the start and the exit
    assert sample.whole_run_seconds == pytest.approx(2 + 10 * 5)
    everything = run(BEFORE, timing("a", 3.0), seconds=4.0)
    assert everything.whole_run_seconds == pytest.approx(4.0)


def test_speed_up_is_of_the_tests_that_both_ran():
    before = run(BEFORE, timing("a", 2.0), timing("b", 4.0), timing("c", 6.0), collected=5)
    after = run(AFTER, *(timing(name, 0.1 * number) for number, name in enumerate("abcde", 1)))
    comparison = Comparison(before, after)
    assert comparison.median_overheads == pytest.approx((4.0, 0.2))
    assert comparison.speed_up == pytest.approx(20.0)


def test_skipped_tests_have_no_part_in_the_speed_up():
    before = run(BEFORE, timing("a", 2.0), timing("b", 0.001, outcome="skipped"))
    after = run(AFTER, timing("a", 0.5), timing("b", 0.001, outcome="skipped"))
    assert Comparison(before, after).speed_up == pytest.approx(4.0)


def test_nothing_in_common_is_no_speed_up():
    comparison = Comparison(run(BEFORE, timing("a", 2.0)), run(AFTER, timing("b", 0.5)))
    assert comparison.speed_up is None
    assert row(as_text(table(comparison)), "overhead per test, median") == ["-", "-", "-"]
    ET.fromstring(draw(comparison))


def test_picture_of_odd_names_and_extreme_times():
    name = "test_one.py::test[<&\"'>]"
    comparison = Comparison(run(BEFORE, timing(name, 250.0)), run(AFTER, timing(name, 1e-9)))
    svg = ET.fromstring(draw(comparison))
    bars = bars_of(svg)
    assert bars[0][0].startswith(name)
    assert len(bars) == 2
    assert all(1 <= height <= float(svg.get("height")) for _, height in bars)
    assert "1000 s" in " ".join(svg.itertext())


def test_picture_of_the_same_figures_is_the_same():
    comparison = Comparison(run(BEFORE, timing("a", 2.0)), run(AFTER, timing("a", 0.5)))
    assert draw(comparison) == draw(comparison)


def test_without_what_draws_a_picture_nothing_is_run(repo):
    without = (
        f"import sys; sys.modules['matplotlib'] = None; sys.path.insert(0, {str(SCRIPT.parent)!r})"
    )
    code = f"{without}; from speedup.command import main; sys.exit(main())"
    words = ["--repo", repo.folder, "--picture", repo.folder / "picture.svg"]
    command = [sys.executable, "-c", code, *words]
    result = subprocess.run(command, env=repo.env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.startswith("verify_speedup: --picture needs matplotlib")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.00004, "0.0 ms"),
        (0.0007, "0.7 ms"),
        (0.0099, "9.9 ms"),
        (0.00999, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (5.534, "5.53 s"),
        (59.996, "1 min 00 s"),
        (340, "5 min 40 s"),
    ],
)
def test_durations_are_written_as_people_do(seconds, written):
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("ratio", "written"),
    [
        (None, "-"),
        (0.001, "1/1,000 x"),
        (0.094, "1/11 x"),
        (0.0, "0.0 x"),
        (0.5, "0.5 x"),
        (9.94, "9.9 x"),
        (9.96, "10 x"),
        (1234.5, "1,234 x"),
    ],
)
def test_ratios_are_written_as_people_do(ratio, written):
    assert factor(ratio) == written


def test_command_line_leaves_pytest_what_follows_two_dashes():
    options = parse(["a.py", "--full", "b.py", "--", "-k", "x", "--", "c.py"])
    assert options.tests == ["a.py", "b.py"]
    assert options.full
    assert options.pytest_args == ["-k", "x", "--", "c.py"]


def test_this_repository_is_timed_by_its_own_slow_suite(tmp_path):
    assert suite_of(parse([])).tests == ["tests/test_detect.py"]
    assert suite_of(parse(["--repo", str(tmp_path)])).tests == []


def test_a_relative_python_is_found_from_where_the_script_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python = Repo(tmp_path).write("bin/python", "#!/bin/sh\n")
    python.chmod(0o755)
    assert suite_of(parse(["--python", "bin/python"])).python == str(python)
