"""Brokers that are killed in mid-test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from shared.formatting import duration

from ..figures import Figure, at_most, exactly, median, told
from ..workspace import Workspace


def recoveries(workspace: Workspace) -> Iterator[Figure]:
    """Kill the session's broker in mid-test, half of the times behind the modules' back."""
    kills = workspace.of(200)
    run = workspace.run(
        "recoveries", workspace.repository("recoveries", "test_recoveries.py", kills=kills)
    )
    killed = [test for test in run.tests if "::test_kill[" in test.nodeid]
    recovered = [t for t in run.tests if "::test_next[" in t.nodeid and t.outcome == "passed"]
    yield exactly("brokers killed in mid-test", len(killed), kills)
    yield exactly("recoveries in the next test", len(recovered), kills)
    fine = [test.nodeid for test in killed if test.outcome == "passed"]
    yield exactly("tests that pass with broker.kill()", _count(fine, "on_request"), kills // 2)
    not_fine = [test.nodeid for test in killed if test.failed]
    told_of = _count(not_fine, "unexpectedly")
    yield exactly("unexpected deaths that their test reports", told_of, kills // 2)
    setups = [test.setup for test in recovered]
    yield at_most("next set-up until ready, median", median(setups), 0.05, duration, is_timing=True)
    yield told("next set-up until ready, worst", max(setups, default=math.nan), duration)
    teardowns = [test.teardown for test in killed]
    worst = max(teardowns, default=math.nan)
    yield at_most("tear-down after a kill, worst", worst, 0.5, duration, is_timing=True)


def _count(nodeids: Sequence[str], how: str) -> int:
    return sum(how in nodeid for nodeid in nodeids)
