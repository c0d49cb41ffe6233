"""A pytest as a process, and whatever it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .commands import CannotRunError

INTERRUPT_PATIENCE = 10.0
"""Seconds that pytest gets to clean up after an interrupt before it is killed."""


def _do_nothing() -> None:
    pass


class PytestProcess:
    """A pytest in a process group of its own, gone at the end of the ``with`` block.

    What it prints goes to files in *outputs*, which unlike pipes need no reader and have no end
    that a process it left behind could keep open. *on_end* is called in another thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        repo: Path,
        environment: Mapping[str, str],
        outputs: Path,
        on_end: Callable[[], None] = _do_nothing,
    ) -> None:
        self._stdout, self._stderr = outputs / "stdout", outputs / "stderr"
        self._on_end = on_end
        self.began = time.perf_counter()
        self.seconds = 0.0
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=repo,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as error:
                raise CannotRunError(f"{command[0]} cannot be run: {error.strerror}") from None
        self._waiter = threading.Thread(target=self._announce_end)
        self._waiter.start()

    def __enter__(self) -> PytestProcess:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.end()

    def _announce_end(self) -> None:
        self._process.wait()
        self.seconds = time.perf_counter() - self.began
        self._on_end()

    @property
    def status(self) -> int | None:
        """The exit status, or None as long as it runs."""
        return self._process.poll()

    def output(self) -> tuple[str, str]:
        """Return what has been printed so far, to stdout and to stderr."""
        return self._stdout.read_text(errors="replace"), self._stderr.read_text(errors="replace")

    def ends_within(self, seconds: float) -> bool:
        """Wait so long at most, and say whether it has ended."""
        self._waiter.join(seconds)
        return not self._waiter.is_alive()

    def interrupt_all(self) -> None:
        """Interrupt pytest and what it has started, as Ctrl-C does."""
        self._signal_all(signal.SIGINT)

    def kill(self) -> None:
        """Kill pytest alone, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def kill_all(self) -> None:
        """Kill pytest and what it has started, as far as it is there."""
        self._signal_all(signal.SIGKILL)

    def end(self) -> int:
        """Kill pytest and what it has started if it still runs; return its exit status."""
        if self._process.poll() is None:
            self.kill_all()
        self._waiter.join()
        return self._process.returncode

    def end_well(self, whose: str, patience: float) -> None:
        """Wait so many seconds for its end.

        Raises:
            CannotRunError: one of the tests fails, or it takes longer; says *whose* they are.
        """
        is_over = self.ends_within(patience)
        status = self.end()
        if status != 0:
            what = f"ended with status {status}" if is_over else f"took more than {patience:g} s"
            output = "".join(self.output())
            raise CannotRunError(f"the tests of {whose} {what}:\n{output}")

    def _signal_all(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left
            os.killpg(self._process.pid, number)


class InterruptedPytest(PytestProcess):
    """A pytest that is interrupted, so that it cleans up, where it is not to go on."""

    def end(self) -> int:
        """Interrupt pytest if it still runs, kill what remains; return pytest's exit status."""
        try:
            if self.status is None:
                self.interrupt_all()
                self.ends_within(INTERRUPT_PATIENCE)
        finally:
            self.kill_all()
            status = super().end()
        return status
