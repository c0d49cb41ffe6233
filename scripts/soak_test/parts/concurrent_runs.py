"""Runs of pytest at the same time."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from shared.formatting import duration
from shared.paths import ROOT, SLOW_SUITE
from shared.pytest_process import PytestProcess

from ..figures import FailedError, Figure, exactly, told
from ..workspace import RUN_PATIENCE, Workspace


def concurrent_runs(workspace: Workspace) -> Iterator[Figure]:
    """Run this repository's slow suite many times at once."""
    [alone] = _run_at_once(workspace, 1)
    runs = _run_at_once(workspace, workspace.of(20))
    yield exactly("runs at a time that are green", sum(run.is_green for run in runs), len(runs))
    passed = sum(run.passed for run in runs)
    yield exactly("tests passed in them", passed, alone.passed * len(runs))
    yield told("the slowest of them", max(run.seconds for run in runs), duration)
    yield told("one alone", alone.seconds, duration)


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    seconds: float
    is_green: bool
    passed: int


def _run_at_once(workspace: Workspace, count: int) -> list[Outcome]:
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(workspace.pytest(ROOT, SLOW_SUITE)) for _ in range(count)]
        deadline = time.perf_counter() + RUN_PATIENCE
        return [_outcome(process, deadline) for process in processes]


def _outcome(process: PytestProcess, deadline: float) -> Outcome:
    if not process.ends_within(max(0.0, deadline - time.perf_counter())):
        raise FailedError(f"a run had not ended after {RUN_PATIENCE:g} s")
    passed = re.search(r"(\d+) passed", "".join(process.output()))
    return Outcome(process.seconds, process.status == 0, int(passed[1]) if passed else 0)
