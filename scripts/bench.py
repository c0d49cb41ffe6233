#!/usr/bin/env python3
"""Measures what the modules cost, each against a floor measured in the same run.

Usage: ``make bench``, or ``scripts/bench.py --loans 10000`` for the long run of loans.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from helpers.processes import memory_of
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.broker.binary import find_mosquitto
from mqtt_testing.broker.process import POLL_INTERVAL, START_TIMEOUT
from mqtt_testing.clients.paho_internals import new_client
from mqtt_testing.wire.endpoint import MQTTEndpoint
from shared_mqtt_pool import SharedMQTTPool

Seconds = list[float]


def timed(action: Callable[[], object], rounds: int) -> Seconds:
    """Return how long each of *rounds* calls takes."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


Actions = dict[str, Callable[[], object]]


def take_turns(actions: Actions, turns: int, rounds: int = 1) -> dict[str, float]:
    """Return the median of each action; they take turns, so a noisy moment hits all alike."""
    seconds: dict[str, Seconds] = {name: [] for name in actions}
    for _ in range(turns):
        for name, action in actions.items():
            seconds[name] += timed(action, rounds)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_turn(actions: Actions, rounds: int) -> dict[str, float]:
    """Return the median of each action in ten turns, after one that warms up."""
    take_turns(actions, 1, rounds // 10)
    return take_turns(actions, 10, rounds // 10)


@contextlib.contextmanager
def bare_connection(broker: TestMQTTBroker) -> Iterator[mqtt.Client]:
    """Do the bare minimum that a test without us has to: a client, connected, and gone."""
    client = new_client()
    connected = threading.Event()
    client.on_connect = lambda *_args: connected.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    connected.wait()
    yield client
    client.disconnect()
    client.loop_stop()


def connect_and_disconnect(broker: TestMQTTBroker) -> None:
    """Have a bare client come and go."""
    with bare_connection(broker):
        pass


class RoundTrip:
    """Publishes on a client until it comes back on the same client."""

    def __init__(self, pool: SharedMQTTPool, qos: int) -> None:
        self._qos = qos
        self._client = pool.acquire()
        self._arrived = threading.Event()
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_args: subscribed.set()
        self._client.on_message = lambda *_args: self._arrived.set()
        self._client.subscribe(f"round/{qos}", qos)
        subscribed.wait()

    def __call__(self) -> None:
        """Publish and wait for it."""
        self._arrived.clear()
        self._client.publish(f"round/{self._qos}", b"", self._qos)
        self._arrived.wait()


def show(medians: dict[str, float], floor: str) -> None:
    """Print a table of medians and their ratios to one of them."""
    for name, seconds in medians.items():
        ratio = seconds / medians[floor]
        print(f"  {name:<44} {seconds * 1000:8.3f} ms {ratio:8.2f} x")


# In folders of a repository that has nothing else; this file brings tests/ into reach.
CONFTEST = """
from bench import Overheads, bare_client
from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish
from shared_mqtt_pool import mqtt_client
from test_detect import config, mock_onvif, network_mocks


def pytest_configure(config):
    config.pluginmanager.register(Overheads(config.rootpath / "overheads.json"))


def pytest_collection_modifyitems(items):
    # They take turns, so a noisy moment hits all alike.
    items.sort(key=lambda item: item.callspec.params["turn"])
"""

TESTS = """
import pytest
from helpers.camera_detector.detect import CameraDetector

pytestmark = pytest.mark.parametrize("turn", range({rounds}))


def test_nothing(turn): pass
def test_bare_client(bare_client, turn): pass
def test_loan(mqtt_client, turn): pass
def test_service(camera_detector_fast, turn): pass


def test_discovery(camera_detector_fast, turn):
    camera_detector_fast.test_run_discovery_once()
"""

TESTS_IN_WORDS = {
    "test_nothing": "a test without a fixture",
    "test_bare_client": "a fixture that connects a bare client",
    "test_loan": "mqtt_client",
    "test_service": "camera_detector_fast",
    "test_discovery": "camera_detector_fast after a discovery",
}


@pytest.fixture
def bare_client(session_mqtt_broker: TestMQTTBroker) -> Iterator[mqtt.Client]:
    """What a suite without us has: a client, connected, and gone."""
    with bare_connection(session_mqtt_broker) as client:
        yield client


class Overheads:
    """A plugin of pytest: writes down the set-up plus tear-down of each test, by its function."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, Seconds] = {}
        self._set_up = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a phase took."""
        if report.when == "setup":
            self._set_up = report.duration
        elif report.when == "teardown":
            name = report.location[2].partition("[")[0]
            self._seconds.setdefault(name, []).append(self._set_up + report.duration)

    def pytest_sessionfinish(self) -> None:
        """Hand over what was noted."""
        self._file.write_text(json.dumps(self._seconds))


def time_fixtures(rounds: int) -> dict[str, Seconds]:
    """Run tests that only ask for a fixture; return what pytest says that this took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_bench.py").write_text(TESTS.format(rounds=rounds))
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly -p no:asyncio\n")
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)},
            capture_output=True,
            text=True,
        )
        if run.returncode != 0:
            sys.exit(f"the tests of the benchmark failed:\n{run.stdout}{run.stderr}")
        seconds: dict[str, Seconds] = json.loads((folder / "overheads.json").read_text())
        return seconds


def bench_fixtures(rounds: int) -> None:
    """Show what a test costs that asks for one of the fixtures."""
    seconds = time_fixtures(rounds + 1)
    medians = {
        words: statistics.median(seconds[test][1:])  # the first one warms up
        for test, words in TESTS_IN_WORDS.items()
    }
    show(medians, TESTS_IN_WORDS["test_bare_client"])


def bench_operations(rounds: int) -> None:
    """Compare a loan, a barrier and round trips with a bare connect and disconnect."""
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        pool.barrier()
        actions: Actions = {
            "connect and disconnect": lambda: connect_and_disconnect(broker),
            "acquire and release": lambda: pool.release(pool.acquire()),
            "barrier": pool.barrier,
        }
        show(in_turn(actions, rounds), "connect and disconnect")
        trips: Actions = {
            f"round trip on one client, QoS {qos}": RoundTrip(pool, qos) for qos in (0, 1, 2)
        }
        show(in_turn(trips, rounds), "round trip on one client, QoS 0")


class BareBroker:
    """A mosquitto and nothing around it; its folder and port are found beforehand."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = MQTTEndpoint(*probe.getsockname())
        self._config = self._folder / "mosquitto.conf"
        self._config.write_text(f"listener {self._address.port} 127.0.0.1\nallow_anonymous true\n")
        self._executable = find_mosquitto()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its first answer."""
        command = [self._executable, "-c", str(self._config)]
        quiet = subprocess.DEVNULL
        deadline = time.monotonic() + START_TIMEOUT
        self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        while not self._address.answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(POLL_INTERVAL)
                raise BrokerError(f"a bare mosquitto ended with status {status}: try again")
            if time.monotonic() > deadline:
                raise BrokerError(f"a bare mosquitto does not answer within {START_TIMEOUT:g} s")

    def stop(self) -> None:
        """Kill it, and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder)


@dataclass(frozen=True)
class BrokerTimes:
    """How long starts and stops took, those of a bare mosquitto in turns with ours."""

    bare_starts: Seconds
    starts: Seconds
    stops: Seconds


def time_brokers(rounds: int) -> BrokerTimes:
    """Start and stop so many brokers of each kind, after a first one that warms up."""
    times = BrokerTimes([], [], [])
    for turn in range(rounds + 1):
        bare = BareBroker()
        try:
            bare_start = timed(bare.start, 1)
        finally:
            bare.stop()
        broker = TestMQTTBroker()
        try:
            start = timed(broker.start, 1)
        finally:
            stop = timed(broker.stop, 1)
        if turn:
            times.bare_starts.extend(bare_start)
            times.starts.extend(start)
            times.stops.extend(stop)
    return times


def bench_broker(rounds: int) -> None:
    """Measure a broker from nothing to its first answer, and to its end."""
    times = time_brokers(rounds)
    bare = "bare mosquitto start to first CONNACK"
    seconds = {
        bare: times.bare_starts,
        "broker start to first CONNACK": times.starts,
        "broker stop": times.stops,
    }
    show({name: statistics.median(values) for name, values in seconds.items()}, bare)


@dataclass(frozen=True)
class Resources:
    """What grows where something leaks; memory is in KiB. None: this system does not tell."""

    threads: int
    descriptors: int | None
    memory: int | None

    def __str__(self) -> str:
        known = [self.threads, *("?" if x is None else x for x in (self.descriptors, self.memory))]
        return "{} threads, {} descriptors, {} KiB".format(*known)


def resources() -> Resources:
    """Count what this process has at present."""
    gc.collect()
    descriptors = Path("/proc/self/fd")
    count = len(list(descriptors.iterdir())) if descriptors.exists() else None
    return Resources(threading.active_count(), count, memory_of("self"))


@dataclass(frozen=True)
class ManyLoans:
    """What many loans in one process took, and what they left."""

    before: Resources
    after: Resources
    medians: Seconds  # of each tenth of them
    bare_medians: Seconds  # of bare clients that came and went meanwhile

    @property
    def slowdown(self) -> float:
        """How much longer the last tenth took than the first, each compared with bare clients."""
        ratios = [loan / bare for loan, bare in zip(self.medians, self.bare_medians)]
        return ratios[-1] / ratios[0]


def time_many_loans(loans: int, progress: Callable[[int], None] = lambda _done: None) -> ManyLoans:
    """Lend and take back a client so many times, and tell *progress* how many are done."""
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        tenth = max(1, loans // 10)
        actions: Actions = {
            "loan": lambda: pool.release(pool.acquire()),
            "bare": lambda: connect_and_disconnect(broker),
        }
        take_turns(actions, max(1, tenth // 10))  # to warm up
        before = resources()
        medians, bare_medians = [], []
        for number in range(10):
            of_tenth = take_turns(actions, tenth)
            medians.append(of_tenth["loan"])
            bare_medians.append(of_tenth["bare"])
            progress((number + 1) * tenth)
        return ManyLoans(before, resources(), medians, bare_medians)


def bench_many_loans(loans: int) -> None:
    """Compare the last tenth of many loans with the first, in time and in what they leave."""
    many = time_many_loans(loans)
    print(f"  before: {many.before}")
    print(f"  after:  {many.after}")
    tenth = max(1, loans // 10)
    medians = {f"first {tenth}": many.medians[0], f"last {tenth}": many.medians[-1]}
    show(medians, f"first {tenth}")
    print(f"  {'the same, relative to bare clients':<44} {many.slowdown:20.2f} x")


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500, help="of each operation")
    parser.add_argument("--loans", type=int, default=2000, help="in the long run of loans")
    arguments = parser.parse_args()
    print("A broker:")
    bench_broker(arguments.rounds // 10)
    print("Operations, medians:")
    bench_operations(arguments.rounds)
    print("Set-up plus tear-down of a test, medians:")
    bench_fixtures(arguments.rounds)
    print(f"{arguments.loans} loans in one process:")
    bench_many_loans(arguments.loans)


if __name__ == "__main__":
    main()
