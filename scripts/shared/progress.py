"""How far a command is."""

from __future__ import annotations

import math
import shutil
import sys
import time


class Progress:
    """Says how far a run is: in a line that changes on a terminal, else in a line now and then."""

    INTERVAL = 1.0

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._said_last = -math.inf

    def say(self, line: str) -> None:
        """Show a line in place of the last."""
        if self._is_live:
            fitting = line[: shutil.get_terminal_size().columns - 1]
            print(f"\r{fitting}\033[K", end="", file=sys.stderr, flush=True)
        elif time.perf_counter() - self._said_last >= self.INTERVAL:
            self._said_last = time.perf_counter()
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for what follows."""
        if self._is_live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
