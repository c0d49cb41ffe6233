"""The benchmarks as tables: medians, and their ratios to a floor."""

from __future__ import annotations

from rich.table import Table
from shared.modules import SharedMQTTPool, TestMQTTBroker
from shared.tables import figures_table
from shared.timing import Actions, in_turn, medians

from .brokers import time_brokers
from .clients import RoundTrip, connect_and_disconnect
from .fixtures import BARE_CLIENT, time_fixtures
from .loans import time_many_loans

WIDTH = 45
"""Of the first column, so that the tables look like one."""


def bench_broker(rounds: int) -> Table:
    """Measure a broker from nothing to its first answer, and to its end."""
    times = time_brokers(rounds)
    bare = "bare mosquitto start to first CONNACK"
    seconds = {
        bare: times.bare_starts,
        "broker start to first CONNACK": times.starts,
        "broker stop": times.stops,
    }
    table = _table("a broker")
    _add(table, medians(seconds), bare)
    return table


def bench_operations(rounds: int) -> Table:
    """Compare a loan, a barrier and round trips with a bare connect and disconnect."""
    table = _table("operations")
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        pool.barrier()
        actions: Actions = {
            "connect and disconnect": lambda: connect_and_disconnect(broker),
            "acquire and release": lambda: pool.release(pool.acquire()),
            "barrier": pool.barrier,
        }
        _add(table, in_turn(actions, rounds), "connect and disconnect")
        trips: Actions = {
            f"round trip on one client, QoS {qos}": RoundTrip(pool, qos) for qos in (0, 1, 2)
        }
        _add(table, in_turn(trips, rounds), "round trip on one client, QoS 0")
    return table


def bench_fixtures(rounds: int) -> Table:
    """Show what a test costs that asks for one of the fixtures."""
    table = _table("set-up plus tear-down of a test")
    _add(table, medians(time_fixtures(rounds)), BARE_CLIENT)
    return table


def bench_many_loans(loans: int) -> Table:
    """Compare the last tenth of many loans with the first, in time and in what they leave."""
    many = time_many_loans(loans)
    tenth = max(1, loans // 10)
    first, last = f"first {tenth}", f"last {tenth}"
    table = _table(f"{loans} loans in one process")
    _add(table, {first: many.medians[0], last: many.medians[-1]}, first)
    table.add_row("the same, relative to bare clients", "", f"{many.slowdown:.2f} x")
    table.add_row(f"before: {many.before}")
    table.add_row(f"after: {many.after}")
    return table


def _table(what: str) -> Table:
    table = figures_table(what, "median", "ratio")
    table.columns[0].min_width = WIDTH
    table.columns[1].min_width = len("12345.678 ms")
    return table


def _add(table: Table, medians: dict[str, float], floor: str) -> None:
    for name, seconds in medians.items():
        table.add_row(name, f"{seconds * 1000:.3f} ms", f"{seconds / medians[floor]:.2f} x")
