"""Signals to a process and its children: mosquitto may be a script that has some."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess


def signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process that leads a group, and to the rest of the group."""
    if leader.poll() is None:  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, number)


def kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, and wait for its end."""
    signal_group(leader, signal.SIGKILL)
    leader.wait()
