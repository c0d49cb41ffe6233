"""What pytest collects before and after a change, file by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shared.formatting import counted

from .pytest_runs import PytestRun


def found_tests(before: PytestRun, after: PytestRun) -> list[str]:
    """Say which files that could not be collected before can be now."""
    counts = Counter(test.file for test in after.tests)
    return [
        f"{path}: pytest collects {counted(counts[path], 'test')} now. Before: {reason}"
        for path, reason in before.errors.items()
        if path not in after.errors and counts[path]
    ]


def lost_tests(before: PytestRun, after: PytestRun) -> list[str]:
    """Say of which files fewer tests are collected than before, and why."""
    return list(_lost(before, after))


def _lost(before: PytestRun, after: PytestRun) -> Iterator[str]:
    counts, now = (Counter(test.file for test in run.tests) for run in (before, after))
    reasons = {path: reason for path, reason in after.errors.items() if path not in before.errors}
    for file, number in sorted(counts.items()):
        if now[file] < number:
            reason = reasons.pop(file, "") or ("" if after.tests else after.error)
            some = f"{now[file]} of its {counted(number, 'test')}"
            left = some if now[file] else "none of its tests"
            yield f"{file}: pytest collects {left}{f': {reason}' if reason else ''}"
    for file, reason in sorted(reasons.items()):
        yield f"{file}: pytest cannot collect it any more: {reason}"
