"""Many loans in one process."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.loans import time_many_loans
from shared.formatting import duration, factor, mebibytes

from ..figures import Figure, at_most, exactly, told
from ..workspace import Workspace


def loans(workspace: Workspace) -> Iterator[Figure]:
    """Lend and take back ten thousand clients in one process."""
    count = workspace.of(10_000)
    many = time_many_loans(count, lambda done: workspace.progress.show("loans", done, count))
    yield told("loans in one process", count)
    before, after = many.before, many.after
    yield exactly("threads after them", after.threads, before.threads)
    yield exactly("descriptors after them", after.descriptors or 0, before.descriptors or 0)
    limit = (before.memory or 0) * 1.1
    yield at_most("memory after them", after.memory or 0, limit, mebibytes)
    yield told("a loan, median of the first tenth", many.medians[0], duration)
    yield told("last tenth", many.medians[-1], duration)
    label = "that to the first, relative to bare clients"
    yield at_most(label, many.slowdown, 1.5, factor, is_timing=True)
