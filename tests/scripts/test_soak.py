"""scripts/soak.py, with a part of everything that it does, and what it leaves behind: nothing."""

import json
import signal
import sys
from pathlib import Path

import pytest
from helpers.processes import wait_until
from helpers.started_script import StartedScript
from mqtt_testing.broker.binary import find_mosquitto

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "soak.py"

WITH_SETTINGS = """
import importlib, sys
sys.path.insert(0, {folder!r})
for module, settings in {settings}.items():
    vars(importlib.import_module(f"soak_test.{{module}}")).update(settings)
from soak_test.command import main
sys.exit(main())
"""


class Soak(StartedScript):
    """The script, with a part of what it does."""

    def start(self, *words, **settings):
        code = WITH_SETTINGS.format(folder=str(SCRIPT.parent), settings=settings)
        return self.popen([sys.executable, *(["-c", code] if settings else [SCRIPT]), *words])

    def run(self, *words, status, **settings):
        with self.start(*words, **settings) as process:
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == status, stdout + stderr
        assert "Traceback" not in stderr
        assert self.has_left_nothing()
        return stdout + stderr

    def figures(self, *parts, seed=4, **settings):
        """Run parts whose goals a busy machine may miss, and return their other figures."""
        words = ["--quick", "--seed", str(seed), "--json", self._json, *parts]
        with self.start(*words, **settings) as process:
            stdout, stderr = process.communicate(timeout=120)
        assert "Traceback" not in stderr
        assert self.has_left_nothing()
        report = json.loads(self._json.read_text())
        assert process.returncode == (1 if report["missed"] else 0), stdout + stderr
        assert list(report["parts"]) == [*parts, "in the end"]
        figures = [figure for part in report["parts"].values() for figure in part["figures"]]
        assert [f for f in figures if not f["is_met"] and not f["is_timing"]] == []
        return {figure["what"]: figure["measured"] for figure in figures}, stdout

    def has_begun(self):
        """Wait until the script is in the midst of it: a process that has a broker runs."""
        return wait_until(lambda: len(self.processes) > 2, 30)


@pytest.fixture
def soak(tmp_path):
    return Soak(tmp_path, "TEST_SOAK")


@pytest.mark.slow
def test_the_brokers_and_the_clients_at_a_tenth(soak):
    figures, table = soak.figures("recoveries", "clients", "starts", "loans")
    assert figures["recoveries in the next test"] == 20
    assert figures["other clients, connected from first to last"] == 100
    assert figures["first broker of a process, median"] > 0
    assert figures["loans in one process"] == 1000
    assert "mosquitto 2" in table
    assert "load" in table


@pytest.mark.slow
def test_killed_runs_at_a_twentieth(soak):
    figures, _ = soak.figures("killed-runs", seed=5, workspace={"QUICK": 20})
    assert figures["runs killed (SIGKILL), alone or as a group"] == 5
    assert figures["seed of the moments"] == 5


def test_a_flood_at_a_hundredth(soak):
    figures, _ = soak.figures("flood", workspace={"QUICK": 100})
    assert figures["messages counted by the monitor, QoS 0"] == 10_000
    assert figures["of these dropped, as the summary says"] > 8_000


@pytest.mark.slow
def test_runs_at_a_time_at_a_tenth(soak):
    figures, _ = soak.figures(
        "concurrent-runs", **{"parts.concurrent_runs": {"SLOW_SUITE": "tests/test_irrigation.py"}}
    )
    assert figures["runs at a time that are green"] == 2


def test_what_a_broker_leaves_behind_is_found_ended_and_named(soak, tmp_path):
    leaky = tmp_path / "mosquitto"
    # In a session of its own: what is in the broker's process group goes with it.
    away = "import os, time; os.setsid(); time.sleep(600)"
    leaky.write_text(
        f'#!/bin/sh\n[ "$1" = -h ] || {sys.executable} -c "{away}" >/dev/null 2>&1 &\n'
        f'exec {find_mosquitto()} "$@"\n'
    )
    leaky.chmod(0o755)
    soak.env["MQTT_TEST_MOSQUITTO"] = str(leaky)
    said = soak.run("--quick", "clients", status=1, leftovers={"PATIENCE": 1.0})
    assert "Missed: in the end: processes left: 1, not 0" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("recoveries", signal.SIGINT),
        ("killed-runs", signal.SIGINT),
        ("killed-runs", signal.SIGTERM),
        ("concurrent-runs", signal.SIGINT),
        ("flood", signal.SIGINT),
        ("clients", signal.SIGINT),
    ],
)
def test_an_interrupt_leaves_nothing(soak, part, number):
    with soak.start(part) as process:
        assert soak.has_begun()
        process.send_signal(number)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    assert "soak: interrupted" in stderr
    assert "Traceback" not in stderr
    assert soak.has_left_nothing()


def test_an_unknown_part_is_named(soak):
    assert "there is no part loanz; there are recoveries, " in soak.run("loanz", status=2)


def test_without_a_mosquitto_it_says_how_to_get_one(soak):
    soak.env["MQTT_TEST_MOSQUITTO"] = "/not/there"
    assert "Give the path of the mosquitto binary" in soak.run("--quick", "starts", status=2)
