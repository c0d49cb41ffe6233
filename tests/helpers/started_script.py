"""A script of this repository as a process, and all that it starts and writes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .processes import processes_with, wait_until


class StartedScript:
    """Knows what the script has started by a *variable* in its environment."""

    def __init__(self, folder: Path, variable: str) -> None:
        self._temporary = folder / "temporary"
        self._temporary.mkdir(mode=0o777)
        self._mark = f"{variable}={folder}"
        self._json = folder / "figures.json"
        self.env = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
        self.env.update({variable: str(folder), "TMPDIR": str(self._temporary)})

    def popen(self, command: Sequence[str | Path]) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def processes(self) -> list[str]:
        """What runs of it, and of what it has started."""
        return processes_with(self._mark)

    def has_left_nothing(self) -> bool:
        """Wait for all processes to end; return whether they do, and all folders are gone."""
        is_gone = wait_until(lambda: not self.processes)
        return is_gone and not list(self._temporary.iterdir())
