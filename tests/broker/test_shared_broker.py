"""Runs at the same time on one external broker, under load: what is one's does not reach another.

The runs are process groups of one machine, and of several as far as it can have networks.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys

import pytest
from helpers.clients import connected
from helpers.drop_in import Repository
from helpers.raw_clients import in_another_process, load
from mqtt_test_broker import TestMQTTBroker

pytestmark = pytest.mark.usefixtures("few_plugins")

RUNS = 3
PATIENCE = 90

WIRING = """
    from shared_mqtt_pool import mqtt_client, mqtt_monitor, mqtt_topic_factory, mqtt_topic_prefix
"""

ONE_PREFIX = """
    import pytest

    @pytest.fixture(scope="session")
    def mqtt_topic_prefix(session_mqtt_broker):
        return "all/of/us"
"""

# In each test one run raises an alarm, and all others want none: on topics that end alike.
SUITE = """
    import os, time
    from pathlib import Path
    import pytest

    RUN, RUNS = int(os.environ["RUN"]), int(os.environ["RUNS"])

    def meet(name):
        \"\"\"Wait until all runs are here.\"\"\"
        Path(f"{name}.{RUN}").touch()
        deadline = time.monotonic() + 60
        while len(list(Path().glob(f"{name}.*"))) < RUNS:
            assert time.monotonic() < deadline, f"not all runs came to {name}"
            time.sleep(0.001)

    @pytest.mark.parametrize("turn", range(12))
    def test_an_alarm(mqtt_client, mqtt_monitor, mqtt_topic_factory, mqtt_topic_prefix, turn):
        meet(f"begin-{turn}")
        status, alarm = mqtt_topic_factory("status"), mqtt_topic_factory("alarm")
        for number in range(5):
            mqtt_client.publish(status, f"{RUN} {number}", qos=1, retain=True)
        if turn % RUNS == RUN:
            mqtt_client.publish(alarm, RUN, qos=1)
            mqtt_monitor.wait_for(alarm)
        messages = mqtt_monitor.wait_for(status, count=5)
        meet(f"said-{turn}")
        if turn % RUNS != RUN:
            mqtt_monitor.assert_none(alarm)
        assert [m.payload.decode() for m in messages] == [f"{RUN} {n}" for n in range(5)]
        own = [m for m in mqtt_monitor.messages if m.topic.startswith(mqtt_topic_prefix)]
        assert len(own) == 5 + (turn % RUNS == RUN)
"""


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    repository.write("tests/conftest.py", WIRING)
    return repository.write("tests/test_it.py", SUITE)


def run_at_a_time(repository, url, *machines):
    """Run the suite so many times at once; return the exit statuses, and what was printed."""
    # Of a worker of pytest-xdist that we run in, whose name and run the topics would begin with.
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_XDIST")}
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    with contextlib.ExitStack() as stack:
        runs = []
        for number, on_machine in enumerate(machines):
            run = subprocess.Popen(
                [*on_machine, *pytest_command],
                cwd=repository.tests.parent,
                env={
                    **kept,
                    "MQTT_TEST_BROKER_URL": url,
                    "RUN": str(number),
                    "RUNS": str(len(machines)),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            stack.callback(run.kill)
            runs.append(run)
        outputs = [run.communicate(timeout=PATIENCE)[0] for run in runs]
    return [run.returncode for run in runs], "\n".join(outputs)


def retained_on(broker):
    with connected(broker) as client:
        return [message.topic for message in client.received_on("#") if message.retain]


@pytest.mark.slow
def test_runs_under_load_do_not_reach_each_other(repository, broker):
    with in_another_process(load, broker.port) as other:
        url = f"mqtt://127.0.0.1:{broker.port}"
        statuses, output = run_at_a_time(repository, url, *[()] * RUNS)
        assert other.poll() is None, "there was no load"
    assert statuses == [0] * RUNS, output
    assert retained_on(broker) == []


@pytest.mark.slow
def test_runs_with_one_prefix_do(repository, broker):
    repository.write("tests/conftest.py", WIRING + ONE_PREFIX)
    statuses, output = run_at_a_time(repository, f"mqtt://127.0.0.1:{broker.port}", *[()] * RUNS)
    assert statuses == [1] * RUNS, output
    assert "alarm" in output


class Machine:
    """A network of its own, with a cable to ours; both are gone once its process is."""

    def __init__(self, name, network):
        self.name, self.ours, self.theirs = name, f"{network}.1", f"{network}.2"
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo up; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.inside = ["nsenter", f"--target={self._process.pid}", "--net"]

    def connect(self):
        """Plug in the cable; skip the test where that is not allowed."""
        said = self._process.stdout.readline()
        if said != "up\n":
            pytest.skip(f"no network of its own: {said}")
        cable = f"{self.name} type veth peer name eth0 netns {self._process.pid}"
        self._ip(f"link add {cable}")
        self._ip(f"address add {self.ours}/30 dev {self.name}")
        self._ip(f"link set {self.name} up")
        self._ip(f"address add {self.theirs}/30 dev eth0", *self.inside)
        self._ip("link set eth0 up", *self.inside)
        self._ip(f"route add default via {self.ours}", *self.inside)

    def _ip(self, words, *inside):
        done = subprocess.run([*inside, "ip", *words.split()], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no network of its own: ip {words}: {done.stderr}")

    def end(self):
        self._process.kill()
        self._process.communicate()
        subprocess.run(["ip", "link", "delete", self.name], capture_output=True, check=False)


@pytest.fixture
def machines():
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("no network of its own: it takes unshare, nsenter and ip")
    second, third = random.randrange(18, 20), random.randrange(256)  # 198.18.0.0/15: for tests
    networks = [f"198.{second}.{(third + number) % 256}" for number in range(RUNS)]
    with contextlib.ExitStack() as stack:
        machines = []
        for number, network in enumerate(networks):
            machines.append(Machine(f"mqtt{os.getpid()}n{number}", network))
            stack.callback(machines[-1].end)
        for machine in machines:
            machine.connect()
        yield machines


@pytest.mark.slow
def test_machines_with_networks_of_their_own_share_a_broker(repository, machines):
    address = machines[0].ours
    with TestMQTTBroker() as reserved:
        port = reserved.port
    listener = [f"listener {port} {address}", "allow_anonymous true"]
    with TestMQTTBroker(config_lines=listener) as broker:
        with in_another_process(load, broker.port) as other:
            statuses, output = run_at_a_time(
                repository, f"mqtt://{address}:{port}", *(machine.inside for machine in machines)
            )
            assert other.poll() is None, "there was no load"
        assert statuses == [0] * RUNS, output
        for machine in machines:
            assert f"New connection from {machine.theirs}:" in broker.log
        assert retained_on(broker) == []
