"""What happens to processes, waited for with a deadline."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 10.0
INTERVAL = 0.005


def wait_until(condition: Callable[[], bool], timeout: float = TIMEOUT) -> bool:
    """Look at a condition that nothing announces, until it holds or *timeout* seconds are over."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(INTERVAL)
    return True


def ends(pid: int) -> bool:
    """Wait for a process that is not our child to end."""
    return wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that is dead but not reaped by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        state = status.read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:  # it has gone meanwhile, or this system has no /proc
        return not Path("/proc/self").exists()
    return state != "Z"


def command_lines_with(text: str | Path) -> list[str]:
    """List the processes that have *text* in their command line, each with its number."""
    shown = subprocess.run(
        ["ps", "axww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    return [line for line in shown.stdout.splitlines() if str(text) in line]


def processes_with(mark: str) -> list[str]:
    """List the processes that have NAME=VALUE in the environment that they were started with."""
    if not Path("/proc/self").exists():
        return _processes_shown_with(mark)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_text().replace("\0", " ")
                found.append(f"{folder.name} {command}")
    return found


def _processes_shown_with(mark: str) -> list[str]:
    shown = subprocess.run(
        ["ps", "axeww", "-o", "pid=,command="],  # e: the environment, behind the command
        env={"PATH": os.environ.get("PATH", os.defpath)},  # not the mark, which we may have
        capture_output=True,
        text=True,
        check=True,
    )
    lines = map(str.split, shown.stdout.splitlines())
    return [" ".join(words[:2]) for words in lines if mark in words]


def memory_of(process: int | str, which: str = "VmRSS") -> int | None:
    """Return the KiB that a process has in memory, or had at its peak (``VmHWM``)."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{which}:")), None)
