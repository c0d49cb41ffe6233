"""What callers of a helper expect of the ``Popen`` that it used to return."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod


class PopenInterface(ABC):
    """``terminate``, ``poll``, ``wait`` and ``communicate`` of a broker that is a child process."""

    _process: subprocess.Popen[bytes] | None

    @property
    @abstractmethod
    def log(self) -> str:
        """What the process has logged so far."""

    @abstractmethod
    def stop(self) -> None:
        """End the process, and clean up behind it."""

    def terminate(self) -> None:
        """Stop mosquitto, like ``stop``."""
        self.stop()

    def poll(self) -> int | None:
        """Return None while mosquitto runs, and then its exit status; 0 where it was stopped."""
        return self._process.poll() if self._process else 0

    def wait(self, timeout: float | None = None) -> int:
        """Return mosquitto's exit status once it has ended, and clean up; 0 where it was stopped.

        Raises:
            subprocess.TimeoutExpired: it runs on for *timeout* seconds.
        """
        status = self._process.wait(timeout) if self._process else 0
        self.stop()
        return status

    def communicate(
        self,
        input: bytes | None = None,  # noqa: ARG002 (as in Popen)
        timeout: float | None = None,
    ) -> tuple[bytes, bytes]:
        """Wait like ``wait``; return no output, and what mosquitto has logged.

        Raises:
            subprocess.TimeoutExpired: it runs on for *timeout* seconds.
        """
        self.wait(timeout)
        return b"", self.log.encode()
