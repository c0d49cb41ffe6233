#!/usr/bin/env python3
"""Measures what the modules cost, each against a floor measured in the same run.

Usage: ``make bench``, or ``scripts/bench.py --loans 10000`` for the long run of loans.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from mqtt_test_broker import TestMQTTBroker
from shared_mqtt_pool import SharedMQTTPool, new_client

Seconds = list[float]


def timed(action: Callable[[], object], rounds: int) -> Seconds:
    """Return how long each of *rounds* calls takes."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def in_turn(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median of each action; they take turns, so a noisy moment hits all alike."""
    seconds: dict[str, Seconds] = {name: [] for name in actions}
    for turn in range(11):
        for name, action in actions.items():
            of_this_turn = timed(action, rounds // 10)
            seconds[name] += of_this_turn if turn else []  # the first one warms up
    return {name: statistics.median(values) for name, values in seconds.items()}


def connect_and_disconnect(broker: TestMQTTBroker) -> None:
    """Do the bare minimum that a test without us has to: a client, connected, and gone."""
    client = new_client()
    connected = threading.Event()
    client.on_connect = lambda *_args: connected.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    connected.wait()
    client.disconnect()
    client.loop_stop()


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


def bench_operations(rounds: int) -> None:
    """Compare a loan, a barrier and round trips with a bare connect and disconnect."""
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        pool.barrier()
        actions: dict[str, Callable[[], object]] = {
            "connect and disconnect": lambda: connect_and_disconnect(broker),
            "acquire and release": lambda: pool.release(pool.acquire()),
            "barrier": pool.barrier,
        }
        show(in_turn(actions, rounds), "connect and disconnect")
        trips: dict[str, Callable[[], object]] = {
            f"round trip on one client, QoS {qos}": RoundTrip(pool, qos) for qos in (0, 1, 2)
        }
        show(in_turn(trips, rounds), "round trip on one client, QoS 0")


def bench_broker(rounds: int) -> None:
    """Measure a broker from nothing to its first answer, and to its end."""
    brokers = [TestMQTTBroker() for _ in range(rounds)]
    starts, stops = [], []
    for broker in brokers:
        starts += timed(broker.start, 1)
        stops += timed(broker.stop, 1)
    medians = {"broker start to first CONNACK": starts, "broker stop": stops}
    show({k: statistics.median(v) for k, v in medians.items()}, "broker start to first CONNACK")


def resources() -> str:
    """Describe what grows where something leaks."""
    gc.collect()
    descriptors = Path("/proc/self/fd")
    count = len(list(descriptors.iterdir())) if descriptors.exists() else "?"
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    memory = next((line.split()[1] for line in lines if line.startswith("VmRSS")), "?")
    return f"{threading.active_count()} threads, {count} descriptors, {memory} KiB"


def bench_many_loans(loans: int) -> None:
    """Compare the last tenth of many loans with the first, in time and in what they leave."""
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        tenth = max(1, loans // 10)

        def lend() -> None:
            pool.release(pool.acquire())

        timed(lend, tenth // 10)
        print(f"  before: {resources()}")
        medians = [statistics.median(timed(lend, tenth)) for _ in range(10)]
        print(f"  after:  {resources()}")
        show({f"first {tenth}": medians[0], f"last {tenth}": medians[-1]}, f"first {tenth}")


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
    print(f"{arguments.loans} loans in one process:")
    bench_many_loans(arguments.loans)


if __name__ == "__main__":
    main()
