"""A child process that leads a group, and its log."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

from ..originals import open, os, select, signal, subprocess, time
from .errors import BrokerError

LOG_NAME = "mosquitto.log"
LOG_TAIL_LINES = 20
KILL_TIMEOUT = 5.0
POLL_INTERVAL = 0.001


class LoggedProcess:
    """A child process and its log, over all its restarts; to be used like a ``Popen``."""

    log_path: Path | None = None
    """The file that mosquitto logs to, until it is stopped."""

    stdin = stdout = stderr = None
    """As of a ``Popen`` without pipes: what mosquitto says is in its log."""

    _process: subprocess.Popen[bytes] | None = None
    _latest: subprocess.Popen[bytes] | None = None  # which may have been stopped
    _earlier_log = b""

    @property
    def pid(self) -> int | None:
        """The process id of mosquitto, the latest one's; None where it was not started."""
        return self._latest.pid if self._latest else None

    @property
    def args(self) -> Any:
        """The command line of mosquitto; empty where it was not started."""
        return self._latest.args if self._latest else []

    @property
    def returncode(self) -> int | None:
        """None while mosquitto runs, and then its exit status."""
        return self._latest.poll() if self._latest else 0

    def poll(self) -> int | None:
        """Return None while mosquitto runs, and then its exit status."""
        return self.returncode

    @property
    def log(self) -> str:
        """What mosquitto has logged so far."""
        return self.log_since(0)

    @property
    def log_position(self) -> int:
        """Where the log ends at present, for ``log_since``; cheaper than reading it."""
        with contextlib.suppress(FileNotFoundError):  # others have cleaned up the folder
            if self.log_path is not None:
                return len(self._earlier_log) + os.stat(self.log_path).st_size
        return len(self._earlier_log)

    def log_since(self, position: int) -> str:
        """Return what mosquitto has logged since the log was at *position*."""
        in_file = max(0, position - len(self._earlier_log))
        log = self._earlier_log[position:] + self._read_log(in_file)
        return log.decode(errors="replace")

    def _current_log(self) -> str:
        """Return what is in the file."""
        return self._read_log().decode(errors="replace")

    def _read_log(self, position: int = 0) -> bytes:
        with contextlib.suppress(FileNotFoundError):  # others have cleaned up the folder
            if self.log_path is not None:
                with open(self.log_path, "rb") as log:
                    log.seek(position)
                    return log.read()
        return b""

    @property
    def _log_tail(self) -> str:
        lines = self.log.splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["The end of its log:", *lines]) if lines else "It has logged nothing."


def spawn(executable: str, config: Path, log_path: Path) -> subprocess.Popen[bytes]:
    """Start mosquitto as the leader of a process group."""
    __tracebackhide__ = True
    with open(log_path, "ab") as log:
        try:
            return subprocess.Popen(
                [executable, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which stops us in order
            )
        except OSError as error:
            if error.filename is None:
                raise  # no descriptor, no process: the file is not to blame
            raise BrokerError(
                f"{executable} cannot be run ({error.strerror}). "
                "Give the path of a mosquitto binary for this machine."
            ) from None


def signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and its children: mosquitto may be a script that has some."""
    if leader.poll() is None:  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, number)


def kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, and wait for its end."""
    signal_group(leader, signal.SIGKILL)
    has_ended(leader, KILL_TIMEOUT)


def has_ended(process: subprocess.Popen[bytes], timeout: float | None) -> bool:
    """Wait for the end of a process, *timeout* seconds at most; return whether it has come.

    Unlike ``process.wait``, it works in frozen time, and while ``time.sleep`` is a mock.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], POLL_INTERVAL)
    return True
