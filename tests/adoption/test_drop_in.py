"""A user's repository, from the first copy to the end of a run: what `make matrix` repeats.

DROP_IN_CELL in the environment says with which Python, in which layout and with which plugins;
without it the repository is an ordinary one, and its Python the one that runs these tests.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from helpers.drop_in import (
    ALL_MODULES,
    SLOW_FIXTURE,
    TESTS,
    Repository,
)
from helpers.processes import processes_with, wait_until

MIGRATE = TESTS.parent / "scripts" / "migrate.py"

# An option of its own shows that a plugin is on: without the plugin it would be unknown.
PLUGINS = {
    "xdist": "-n 2",
    "randomly": "--randomly-seed=default",
    "timeout": "--timeout=30",
    "asyncio": "--asyncio-mode=strict",
}

# pytest-asyncio wants its users to choose a loop scope, by a setting that old ones do not know.
WARNINGS = """\
    error
    ignore:.*asyncio_default_fixture_loop_scope. is unset:pytest.PytestDeprecationWarning
"""


@dataclass(frozen=True)
class Cell:
    """Where the tests of a repository run, and how."""

    python: str = sys.executable
    mode: str = "prepend"
    package: bool = False
    plugins: Sequence[str] = ()

    @property
    def settings(self) -> str:
        """The repository's pytest.ini; plugins that merely happen to be installed are off."""
        plugins = [PLUGINS[p] if p in self.plugins else f"-p no:{p}" for p in PLUGINS]
        plugins += ["-p no:hypothesispytest", "-p no:anyio"]
        options = " ".join([f"--import-mode={self.mode}", *plugins])
        return f"[pytest]\naddopts = {options}\nfilterwarnings =\n{WARNINGS}"


CAMERA_TESTS = (
    SLOW_FIXTURE
    + """
    def test_initialization(camera_detector):
        assert camera_detector.mqtt_connected

    def test_discovery(camera_detector, mqtt_monitor):
        assert camera_detector.cameras == {}
        camera_detector.test_run_discovery_once()
        assert camera_detector.cameras == {"1": "found"}
        [message] = mqtt_monitor.wait_for("camera/discovery")
        assert message.retain
"""
)

# A service whose end leaves its thread and its executor running.
THERMOSTAT = """
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from service import new_client


    class Thermostat:
        def __init__(self):
            self._active = True
            self.client = new_client("thermostat")
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.loop_start()
            self._executor = ThreadPoolExecutor(2)
            self._executor.submit(threading.Event().wait)
            self._poller = threading.Thread(target=self._poll_for_ever)
            self._poller.start()

        def _poll_for_ever(self):
            while True:
                self._poll_sensors()
                threading.Event().wait(60)

        def _poll_sensors(self):
            assert self._active
            self.client.publish("thermostat/state", "polled", retain=True)

        def shutdown(self):
            self._active = False
            self.client.loop_stop()
"""

THERMOSTAT_WIRING = """
from {dot}mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
from {dot}optimized_service_fixture import override_fixture, service_fixture
from {dot}shared_mqtt_pool import mqtt_client, mqtt_client_factory, mqtt_monitor, shared_mqtt_pool
from thermostat import Thermostat

fast_thermostat = service_fixture(
    Thermostat, tasks={{"run_poll_once": "_poll_sensors"}}, running="_active", cleanup="shutdown"
)
override_fixture("thermostat", fast_thermostat)
"""

THERMOSTAT_TESTS = """
    import pytest


    @pytest.fixture
    def thermostat():
        raise AssertionError("the slow fixture was used")

    def test_poll(thermostat, mqtt_monitor):
        thermostat.run_poll_once()
        [message] = mqtt_monitor.wait_for("thermostat/state")
        assert message.payload == b"polled"

    def test_nothing_is_polled_in_the_background(thermostat, mqtt_monitor):
        mqtt_monitor.assert_none("#")

    def test_without_a_service(mqtt_client, mqtt_monitor):
        mqtt_client.publish("device/status", "on", qos=1, retain=True)
        [message] = mqtt_monitor.wait_for("device/status")
        assert message.payload == b"on"
        assert message.retain
        mqtt_monitor.assert_none("device/alarm")
"""

# What would keep a process from its end for a minute, or for good.
LEAKS = """
    import threading
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(1)


    def test_an_executor():
        executor.submit(threading.Event().wait)

    def test_a_thread():
        threading.Thread(target=threading.Event().wait).start()

    def test_a_timer():
        threading.Timer(60, print).start()
"""

ASYNC_TEST = """
    import asyncio

    import pytest


    @pytest.mark.asyncio
    async def test_async(mqtt_client, mqtt_monitor):
        mqtt_client.publish("async/status", "on")
        [message] = await asyncio.get_running_loop().run_in_executor(
            None, mqtt_monitor.wait_for, "async/status"
        )
        assert message.payload == b"on"
"""


@pytest.fixture
def cell():
    return Cell(**json.loads(os.environ.get("DROP_IN_CELL", "{}")))


@pytest.fixture
def repository(pytester, cell):
    """The repository of somebody who has not heard of the modules yet."""
    repository = Repository(pytester, [], package=cell.package)
    repository.write("pytest.ini", cell.settings)
    repository.write("thermostat.py", THERMOSTAT)
    return repository.write("tests/test_detect.py", CAMERA_TESTS.partition("def test_disc")[0])


@pytest.fixture
def mark(monkeypatch, tmp_path):
    """What is in the environment of every process that comes of the test."""
    monkeypatch.setenv("DROP_IN_MARK", str(tmp_path))
    return f"DROP_IN_MARK={tmp_path}"


def test_a_repository_takes_the_modules_and_its_run_is_green_and_silent(
    pytester, cell, repository, mark
):
    command = [sys.executable, MIGRATE, "apply", pytester.path, "--python", cell.python]
    applied = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "camera_detector comes from" in applied.stdout
    assert "as it should" in applied.stdout

    conftest = repository.tests / "conftest.py"
    wiring = THERMOSTAT_WIRING.format(dot="." if cell.package else "")
    conftest.write_text(conftest.read_text() + wiring)
    repository.write("tests/test_detect.py", CAMERA_TESTS)
    repository.write("tests/test_thermostat.py", THERMOSTAT_TESTS)
    repository.write("tests/test_leaks.py", LEAKS)
    if "asyncio" in cell.plugins:
        repository.write("tests/test_async.py", ASYNC_TEST)

    result = pytester.run(cell.python, "-m", "pytest", timeout=60)
    result.assert_outcomes(passed=9 if "asyncio" in cell.plugins else 8)
    assert result.ret == 0
    assert result.stderr.str() == ""
    assert wait_until(lambda: not processes_with(mark)), processes_with(mark)


@pytest.mark.usefixtures("few_plugins")
def test_all_can_be_imported_by_stars(pytester):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("tests/conftest.py", "\n".join(f"from {m} import *" for m in ALL_MODULES))
    repository.write(
        "tests/test_it.py",
        """
        def test_a_message(mqtt_client, mqtt_monitor):
            mqtt_client.publish("status", "on")
            mqtt_monitor.wait_for("status")

        def test_a_late_submission():
            executor = SafeExecutor()
            executor.shutdown()
            executor.submit(print)

        from concurrent_futures_fix import *
        """,
    )
    result = repository.run("-W", "error")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert result.stderr.str() == ""
    assert result.stdout.str().count("late submissions") == 1
