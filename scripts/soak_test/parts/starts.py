"""Starts of brokers, in turns with those of a bare mosquitto."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmark.brokers import time_brokers
from shared.formatting import duration, factor
from shared.paths import TESTS

from ..figures import Figure, at_most, median, told
from ..workspace import SUITES, Workspace

PATIENCE = 60.0
"""Seconds that a process gets to start and to stop a broker."""


def starts(workspace: Workspace) -> Iterator[Figure]:
    """Start brokers in turns with bare mosquittos; the first of a process takes a guardian too."""
    times = time_brokers(workspace.of(200))
    yield told("starts of each", len(times.starts))
    ours, bare = median(times.starts), median(times.bare_starts)
    yield told("broker, from nothing to its first CONNACK, median", ours, duration)
    yield told("bare mosquitto, the same", bare, duration)
    yield at_most("ratio of the medians", ours / bare, 1.5, factor, is_timing=True)
    firsts = [_first_start() for _ in range(workspace.of(20))]
    yield told("first broker of a process, median", median(firsts), duration)


def _first_start() -> float:
    run = subprocess.run(
        [sys.executable, str(SUITES / "first_start.py")],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE,
    )
    return float(run.stdout)
