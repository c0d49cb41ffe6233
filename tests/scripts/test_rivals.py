"""scripts/rivals.py, with a few tests each, and what it must not overlook."""

import dataclasses
import json
import signal
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.processes import wait_until
from helpers.started_script import StartedScript
from rivals_bench import command, installed
from rivals_bench.measuring import (
    Result,
    Run,
    count_orphans,
    find_leaks,
    run_between_few,
    run_tests,
)
from rivals_bench.report import tables
from rivals_bench.rivals import RIVALS, Rival, code_lines
from rivals_bench.workspace import Repository
from shared.commands import CannotRunError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "rivals.py"

OURS, BY_HAND, EMPTY = (
    next(r for r in RIVALS if r.name == name) for name in ("ours", "by-hand", "pytest")
)


class Script(StartedScript):
    """The script, with few tests."""

    def start(self, *words):
        return self.popen([sys.executable, SCRIPT, "--json", self._json, *words])

    def run(self, *words):
        with self.start(*words) as process:
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stdout + stderr
        return stdout, json.loads(self._json.read_text())

    def has_begun(self):
        """Wait until a run of pytest has a broker."""
        return wait_until(lambda: any("mosquitto" in p for p in self.processes), 30)


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path, "TEST_RIVALS")


@pytest.mark.slow
def test_a_round_with_ours_and_by_hand(script):
    stdout, figures = script.run("--rounds", "1", "--tests", "5", "--only", "ours", "by-hand")
    ours, by_hand = figures["rivals"]
    assert (ours["leaks"], ours["orphans"]) == ([], 0)
    assert (by_hand["leaks"], by_hand["orphans"]) == (["retained message", "client"], 1)
    for rival in (ours, by_hand):
        [run] = rival["runs"]["5"]
        assert 0 < run["overhead"] < run["seconds"]
        assert 0 < run["exit"] < run["seconds"]
        assert run["memory"] > 10_000
        assert list(run["kinds"]) == [
            *(f"test_qos_{qos}" for qos in (0, 1, 2)),
            "test_nothing",
            "test_service",
        ]
        assert rival["first"][0] > 0
    for row in ("| ours |", "| by hand, a broker for the session |"):
        assert stdout.count(row) == 3, stdout
    assert "- by hand, a broker for the session: " in stdout
    assert "mosquitto 2" in stdout
    assert script.has_left_nothing()


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(script):
    with script.start("--tests", "500", "--only", "ours", "by-hand") as process:
        assert script.has_begun()
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert script.has_left_nothing()


@pytest.mark.slow
class TestRepository:
    """What is found in runs of a rival that is made up."""

    @pytest.fixture
    def repository(self, tmp_path):
        repositories = []

        def make(conftest, like=BY_HAND):
            file = tmp_path / "made_up.py"
            file.write_text(dedent(conftest))
            rival = dataclasses.replace(like, files=(str(file),))
            repositories.append(Repository(tmp_path, rival, sys.executable))
            return repositories[-1]

        yield make
        for repository in repositories:
            repository.end_what_stays(0.0)

    ORPHAN = """
        import subprocess, sys, types
        import pytest

        WAIT_FOR_A_PIPE = "import sys; print(flush=True); sys.stdin.read()"

        @pytest.fixture
        def bus():
            with subprocess.Popen(
                [sys.executable, "-c", WAIT_FOR_A_PIPE],
                stdin={stdin},
                stdout=subprocess.PIPE,
                start_new_session={away},
            ) as process:
                process.stdout.readline()
                yield types.SimpleNamespace(assert_none=lambda topic: None)
                process.kill()
    """

    @pytest.mark.parametrize("away", [True, False])
    @pytest.mark.parametrize(
        ("stdin", "orphans"),
        [
            ("subprocess.PIPE", 0),  # it ends with the pipe, which ends with pytest
            ("subprocess.Popen(['sleep', '600'], stdout=subprocess.PIPE).stdout", 2),
        ],
    )
    def test_orphans_are_counted_and_ended(self, repository, monkeypatch, away, stdin, orphans):
        monkeypatch.setattr("rivals_bench.measuring.ORPHAN_PATIENCE", 1.0)
        made_up = repository(self.ORPHAN.format(stdin=stdin, away=away))
        assert count_orphans(made_up) == orphans
        assert made_up.end_what_stays(0.0) == []

    CLEANING = """
        import contextlib
        import paho.mqtt.client as mqtt
        import pytest
        from rivals_bench.suites.by_hand import broker
        from rivals_bench.suites.hand_written import mqtt_bus

        made = []

        @pytest.fixture(autouse=True)
        def cleaning(mqtt_bus, monkeypatch):
            connect = mqtt.Client.connect
            monkeypatch.setattr(
                mqtt.Client, "connect", lambda *args: made.append(args[0]) or connect(*args)
            )
            yield
            {clear}
            {end}
    """
    CLEAR = "mqtt_bus.publish('left/retained', '', 1, retain=True)"
    END = "[(client.disconnect(), client.loop_stop()) for client in made]"

    @pytest.mark.parametrize(
        ("clear", "end", "leaks"),
        [
            (CLEAR, END, []),
            ("pass", END, ["retained message"]),
            (CLEAR, "pass", ["client"]),
        ],
    )
    def test_what_is_left_for_the_next_test_is_named(self, repository, clear, end, leaks):
        assert find_leaks(repository(self.CLEANING.format(clear=clear, end=end))) == leaks

    SLOWER_AND_SLOWER = """
        import time
        import pytest

        begun = []

        @pytest.fixture(autouse=True)
        def one_more():
            begun.append(1)
            time.sleep({seconds} * len(begun))
    """

    @pytest.mark.parametrize(("seconds", "least", "most"), [(0.0002, 2.0, 8.0), (0, 0.3, 2.0)])
    def test_how_much_slower_many_are_than_few(self, repository, seconds, least, most):
        made_up = repository(self.SLOWER_AND_SLOWER.format(seconds=seconds), like=EMPTY)
        run, growth = run_between_few(made_up, 200)
        assert run.tests == 200
        assert least < growth < most

    def test_a_test_that_fails_ends_it_and_is_shown(self, repository):
        made_up = repository("import pytest\n@pytest.fixture\ndef mqtt_bus(): assert 0, 'no bus'\n")
        with pytest.raises(CannotRunError, match=r"(?s)tests of by-hand ended with.*no bus"):
            run_tests(made_up, 5)


class TestLines:
    @pytest.mark.parametrize(
        ("source", "lines"),
        [
            ("", 0),
            ("# a comment\n\n", 0),
            ('"""A docstring\n\nof three lines."""\n', 0),
            ("import a\n\nimport b  # why\n", 2),
            ('def f():\n    """What it does."""\n    return """two\nlines"""\n', 3),
            ("f(\n    1,\n)\n", 3),
        ],
    )
    def test_those_with_code_are_counted(self, source, lines):
        assert code_lines(source) == lines

    def test_all_files_of_a_user_are(self):
        shared = Rival("", "", ("hand_written.py",)).lines()
        assert BY_HAND.lines() == Rival("", "", ("by_hand.py",)).lines() + shared
        assert OURS.lines() < 15


def result_of(rival, *, growths=(), first=1.0, leaks=(), orphans=0, **runs):
    """Return the result of a rival, of runs such as n50={"overhead": 0.002}."""
    usual = {
        "seconds": 2.0,
        "exit": 0.2,
        "memory": 40_000,
        "growth": None,
        "overhead": 0.002,
        "kinds": {},
    }
    sizes = {int(name[1:]): [Run(int(name[1:]), **{**usual, **run})] for name, run in runs.items()}
    return Result(rival, rival.title, 7, sizes, list(growths), [first], list(leaks), orphans)


class TestReport:
    def table(self, *results, sizes=(50,)):
        return "\n".join(tables(results, sizes))

    def test_the_least_is_bold_and_who_is_ahead_is_said(self):
        ours = result_of(OURS, n50={"overhead": 0.003, "exit": 0.1})
        other = result_of(BY_HAND, n50={"overhead": 0.001}, leaks=["client"], orphans=1)
        text = self.table(ours, other)
        assert "| ours | 3.0 ms | **2.00 s** |" in text
        assert "| by hand, a broker for the session | **1.0 ms** | **2.00 s** |" in text
        assert "| **100 ms** |" in text
        assert "| **nothing** | **0** |" in text
        assert "| client | 1 |" in text
        lead = "set-up plus tear-down (1.0 ms, ours 3.0 ms)"
        assert f"- by hand, a broker for the session: {lead}" in text.splitlines()

    def test_what_the_table_does_not_show_is_no_lead(self):
        text = self.table(
            result_of(OURS, n50={"overhead": 0.00301}), result_of(BY_HAND, n50={"overhead": 0.003})
        )
        assert "Nothing is ahead of ours." in text

    def test_what_was_not_run_is_said(self):
        text = self.table(
            result_of(OURS, n50={}, n500={}), result_of(BY_HAND, n50={}), sizes=(50, 500)
        )
        assert "| **2.00 s** | not run | **1.00 s** |" in text

    @pytest.mark.parametrize(
        ("growth", "memory", "is_met"),
        [(1.05, 4.9, True), (1.15, 4.9, False), (1.05, 5.1, False)],
    )
    def test_a_goal_that_is_missed_is_said(self, growth, memory, is_met):
        ours = result_of(OURS, n50={}, n5000={"growth": memory}, growths=[2.0, growth, 0.5])
        text = self.table(ours, sizes=(50, 5000))
        assert f"ours with 5,000 tests: {growth:.2f} times" in text
        assert f"{memory:.1f} KiB a test (at most 5)" in text
        assert ("MISSED" not in text) == is_met


def test_a_run_is_expected_to_take_what_a_smaller_one_makes_of_it():
    result = result_of(BY_HAND, first=1.0, n5={"seconds": 9.0})
    assert command._expected_seconds(result, 5) == 0.0
    assert command._expected_seconds(result, 50) == 1.0 + 2.0 * 49


def test_without_a_docker_engine_the_table_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "docker_answers", lambda: False)
    rivals = [rival for rival in RIVALS if rival.takes_docker]
    contest = command.Contest(rivals, tmp_path, [5])
    contest.hold(1)
    text = "\n".join(tables(contest.results, [5]))
    assert "| testcontainers (no Docker engine) | not run | not run |" in text


def test_what_is_installed_is_pinned():
    packages = {package for rival in RIVALS for package in rival.packages}
    requirements = installed._requirements({*packages, *installed.ALL_NEED})
    assert all("==" in requirement for requirement in requirements)
    assert set(installed.PINS) <= packages
