"""The pipe by which a pytest and all that it starts tell their parent what happens."""

from __future__ import annotations

import math
import os
import select
import time
from pathlib import Path


class Pipe:
    """A FIFO to which many processes may write lines; an empty line is its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        # Both of its ends, so that no side waits until the other is open, and none is ever closed.
        self._file = os.open(path, os.O_RDWR)
        self._rest = b""

    def read(self, deadline: float) -> list[bytes]:
        """Return the next lines.

        Raises:
            TimeoutError: there are none before *deadline*.
        """
        timeout = None if math.isinf(deadline) else max(0.0, deadline - time.perf_counter())
        if not select.select([self._file], [], [], timeout)[0]:
            raise TimeoutError
        *lines, self._rest = (self._rest + os.read(self._file, 1 << 16)).split(b"\n")
        return lines

    def write_end(self) -> None:
        """Tell the reader that this is the end, after all that has been written before."""
        os.write(self._file, b"\n")

    def close(self) -> None:
        """Close both ends."""
        os.close(self._file)
