"""Many runs and many workers at once, each with a broker of its own."""

import subprocess
import sys
from collections import Counter

import pytest
from helpers.drop_in import Repository

pytestmark = pytest.mark.usefixtures("few_plugins")

WIRING = """
    from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
    from shared_mqtt_pool import mqtt_client, mqtt_monitor, shared_mqtt_pool
"""

# Every test retains something on the same topic, and looks whether anybody else has.
SUITE = """
    import os
    from pathlib import Path
    import pytest

    WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")

    def note(line):
        with open(Path(os.environ["NOTES"]) / f"{os.getpid()}", "a") as file:
            file.write(line + "\\n")

    @pytest.mark.parametrize("n", range(4))
    @pytest.mark.parametrize("group", "abcd")
    def test_alone_on_a_broker(mqtt_client, mqtt_monitor, test_mqtt_broker, group, n):
        note(f"{WORKER} {test_mqtt_broker.port} {test_mqtt_broker.pid}")
        payload = f"{os.getpid()}/{group}/{n}".encode()
        mqtt_client.publish("the/same/topic", payload, qos=1, retain=True)
        [message] = mqtt_monitor.wait_for("the/same/topic")
        assert message.payload == payload
        assert len(mqtt_monitor.messages) == 1

    def test_on_a_broker_for_one_test(isolated_mqtt_broker, test_mqtt_broker):
        assert isolated_mqtt_broker.pid != test_mqtt_broker.pid
        assert isolated_mqtt_broker.port != test_mqtt_broker.port
        isolated_mqtt_broker.kill()
        assert test_mqtt_broker.answers()
"""


@pytest.fixture
def repository(pytester, monkeypatch):
    notes = pytester.mkdir("notes")
    monkeypatch.setenv("NOTES", str(notes))
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    repository.write("tests/conftest.py", WIRING)
    return repository.write("tests/test_it.py", SUITE)


def brokers_by_process(repository):
    """Return what each process has noted of its broker, which has to be one and the same."""
    found = {}
    for notes in (repository.tests.parent / "notes").iterdir():
        [found[notes.name]] = set(notes.read_text().splitlines())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("dist", ["load", "loadscope", "worksteal"])
def test_every_worker_has_a_broker_of_its_own(repository, dist):
    result = repository.run("-p", "xdist", "-n", "8", "--dist", dist, "-W", "error")
    result.assert_outcomes(passed=17)
    result.stdout.fnmatch_lines(["mosquitto: version * one a worker*"])
    brokers = brokers_by_process(repository).values()
    ports = Counter(line.split()[1] for line in brokers)
    assert set(ports.values()) == {1}
    if dist != "loadscope":  # one module, hence one worker
        assert len(brokers) > 1


@pytest.mark.slow
def test_twenty_runs_at_once(repository):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    runs = [
        subprocess.Popen(
            command,
            cwd=repository.tests.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(20)
    ]
    reports = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 20, "\n".join(reports)
    brokers = brokers_by_process(repository)
    assert len(brokers) == 20
    assert len({line.split()[2] for line in brokers.values()}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("how", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_worker_that_crashed_is_replaced_with_a_broker_of_its_own(repository, how):
    repository.write(
        "tests/test_crash.py",
        f"""
        import os, signal
        def test_crash(test_mqtt_broker): {how}
        """,
    )
    result = repository.run("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=17, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running*test_crash*"])
    ports = Counter(line.split()[1] for line in brokers_by_process(repository).values())
    assert set(ports.values()) == {1}
