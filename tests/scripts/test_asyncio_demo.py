"""scripts/verify_speedup.py --asyncio, on the suite of the charger."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared.commands import CannotRunError
from shared.paths import ROOT
from speedup.command import parse, suite_of
from speedup.probe import installed_versions

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify_speedup.py"


def test_it_is_a_suite_of_this_repository():
    [suite] = suite_of(parse(["--asyncio"])).tests
    assert list((ROOT / suite).glob("test_*.py"))


@pytest.mark.parametrize("words", [["tests/test_a.py"], ["--repo", "/"]], ids=["tests", "repo"])
def test_another_suite_cannot_be_named_with_it(words):
    with pytest.raises(CannotRunError, match="no TESTS, and no --repo"):
        suite_of(parse(["--asyncio", *words]))


def test_the_versions_tell_of_aiomqtt_where_tests_use_it(monkeypatch):
    pytest.importorskip("aiomqtt")
    assert "aiomqtt" in installed_versions()
    monkeypatch.delitem(sys.modules, "aiomqtt")
    assert "aiomqtt" not in installed_versions()


@pytest.mark.slow
def test_the_asyncio_suite_before_and_after(tmp_path):
    report = tmp_path / "report.json"
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, SCRIPT, "--asyncio", "--full", "--json", report]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads(report.read_text())
    assert figures["problems"] == figures["remarks"] == []
    before, after = figures["before"], figures["after"]
    assert before["collected"] == after["collected"] == figures["compared_tests"] >= 20
    assert (before["brokers_started"], after["brokers_started"]) == (before["collected"], 1)
    # 159 x where it has a CPU for itself, 20 x where ten others want one; without the override 1 x.
    assert figures["speed_up"]["median_overhead"] > 10
    seconds = {test["nodeid"]: test["overhead"] + test["call"] for test in before["tests"]}
    for test in after["tests"]:
        assert test["overhead"] + test["call"] < seconds[test["nodeid"]], test["nodeid"]
    assert after["errors_after_last_test"] == []
    assert after["ended_by_itself"]
