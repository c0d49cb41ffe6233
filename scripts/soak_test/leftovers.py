"""Processes that were started, and should be gone."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from shared.modules import processes_with, wait_until

PATIENCE = 30.0
"""Seconds that processes get to be gone once the one that has started them is."""


def end_what_stays(mark: str, patience: float | None = None) -> list[str]:
    """Wait for the processes with a mark to be gone; kill those that stay, and return them."""
    if wait_until(lambda: not _processes_left(mark), PATIENCE if patience is None else patience):
        return []
    stayed = _processes_left(mark)
    for line in stayed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    return stayed


def _processes_left(mark: str) -> list[str]:
    """List the processes with a mark, but for the guardian of our own brokers: it ends with us."""
    return [
        line
        for line in processes_with(mark)
        if "mqtt-test-broker-guardian" not in line or not _is_our_child(line.split()[0])
    ]


def _is_our_child(process: str) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has gone meanwhile
        return False
    return int(fields[1]) == os.getpid()
