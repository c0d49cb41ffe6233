"""The command line of ``bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from rich.table import Table
from shared.commands import count, exit_status_of
from shared.modules import BrokerError
from shared.progress import Progress
from shared.tables import show

from .report import bench_broker, bench_fixtures, bench_many_loans, bench_operations
from .scale import scale_tables

DESCRIPTION = "Measures what the modules cost, each against a floor measured in the same run."


def bench(options: argparse.Namespace) -> int:
    """Run all benchmarks, show each as it ends, and return the exit status."""
    benchmarks: list[Callable[[], Table]] = [
        lambda: bench_broker(options.rounds // 10),
        lambda: bench_operations(options.rounds),
        lambda: bench_fixtures(options.rounds),
        lambda: bench_many_loans(options.loans),
    ]
    progress = Progress()
    try:
        for done, benchmark in enumerate(benchmarks):
            progress.show("bench", done, len(benchmarks), "parts")
            table = benchmark()
            progress.clear()
            show(table)
            print()
    finally:
        progress.clear()
    return 0


def show_scale(options: argparse.Namespace) -> int:
    """Show how it grows, and return the exit status."""
    print(scale_tables(options.scale))
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--rounds", type=count, default=500, help="of each operation")
    parser.add_argument("--loans", type=count, default=2000, help="in the long run of loans")
    parser.add_argument(
        "--scale",
        type=count,
        nargs="?",
        const=400,
        metavar="TESTS",
        help="show how it grows instead",
    )
    options = parser.parse_args(sys.argv[1:] if words is None else words)
    action = bench if options.scale is None else show_scale
    return exit_status_of("bench", lambda: action(options), BrokerError)
