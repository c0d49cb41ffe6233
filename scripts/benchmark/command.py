"""The command line of ``bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from shared.commands import CannotRunError, exit_status_of
from shared.modules import BrokerError, SharedMQTTPool, TestMQTTBroker
from shared.timing import Actions, in_turn, medians

from .brokers import time_brokers
from .clients import RoundTrip, connect_and_disconnect
from .fixtures import BARE_CLIENT, time_fixtures
from .loans import time_many_loans

DESCRIPTION = "Measures what the modules cost, each against a floor measured in the same run."


def show(medians: dict[str, float], floor: str) -> None:
    """Print a table of medians and their ratios to one of them."""
    for name, seconds in medians.items():
        ratio = seconds / medians[floor]
        print(f"  {name:<44} {seconds * 1000:8.3f} ms {ratio:8.2f} x")


def bench_broker(rounds: int) -> None:
    """Measure a broker from nothing to its first answer, and to its end."""
    times = time_brokers(rounds)
    bare = "bare mosquitto start to first CONNACK"
    seconds = {
        bare: times.bare_starts,
        "broker start to first CONNACK": times.starts,
        "broker stop": times.stops,
    }
    show(medians(seconds), bare)


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


def bench_fixtures(rounds: int) -> None:
    """Show what a test costs that asks for one of the fixtures."""
    show(medians(time_fixtures(rounds)), BARE_CLIENT)


def bench_many_loans(loans: int) -> None:
    """Compare the last tenth of many loans with the first, in time and in what they leave."""
    many = time_many_loans(loans)
    print(f"  before: {many.before}")
    print(f"  after:  {many.after}")
    tenth = max(1, loans // 10)
    medians = {f"first {tenth}": many.medians[0], f"last {tenth}": many.medians[-1]}
    show(medians, f"first {tenth}")
    print(f"  {'the same, relative to bare clients':<44} {many.slowdown:20.2f} x")


def bench(options: argparse.Namespace) -> int:
    """Run all benchmarks, and return the exit status."""
    try:
        print("A broker:")
        bench_broker(options.rounds // 10)
        print("Operations, medians:")
        bench_operations(options.rounds)
        print("Set-up plus tear-down of a test, medians:")
        bench_fixtures(options.rounds)
        print(f"{options.loans} loans in one process:")
        bench_many_loans(options.loans)
    except BrokerError as error:
        raise CannotRunError(str(error)) from None
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--rounds", type=int, default=500, help="of each operation")
    parser.add_argument("--loans", type=int, default=2000, help="in the long run of loans")
    options = parser.parse_args(sys.argv[1:] if words is None else words)
    return exit_status_of("bench", lambda: bench(options))
