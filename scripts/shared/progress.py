"""How far a command is."""

from __future__ import annotations

import math
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column


class Progress:
    """Says how far a step is: in a bar on a terminal, else in a line now and then."""

    INTERVAL = 1.0

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._said_last = -math.inf
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            TextColumn(
                "{task.fields[detail]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=Console(stderr=True, force_terminal=self._is_live),
            auto_refresh=False,  # no thread of ours while things are timed
            transient=True,
        )

    def show(
        self, name: str, done: int = 0, total: int | None = None, unit: str = "", detail: str = ""
    ) -> None:
        """Show how much of a step is done, of how much in *total* once that is known."""
        task = self._task(name, total)
        self._bar.update(task.id, completed=done, unit=unit, detail=detail)
        if self._is_live:
            self._bar.start()
            self._bar.refresh()
        elif time.perf_counter() - self._said_last >= self.INTERVAL:
            self._said_last = time.perf_counter()
            print(_line(task), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for what follows."""
        if self._is_live:
            self._bar.stop()

    def _task(self, name: str, total: int | None) -> Task:
        """Return the task of a step, the only one that is shown."""
        for task in self._bar.tasks:
            if (task.description, task.total) == (name, total):
                return task
            self._bar.remove_task(task.id)
        self._bar.add_task(name, total=total, unit="", detail="")
        return self._bar.tasks[0]


def _line(task: Task) -> str:
    if task.total is None and not task.completed:
        return f"{task.description}: begins"
    of_all = "" if task.total is None else f" of {task.total:.0f}"
    count = f"{task.completed:.0f}{of_all} {task.fields['unit']}".rstrip()
    seconds = f"{task.elapsed or 0:.0f} s"
    return f"{task.description}: " + ", ".join(
        filter(None, [count, seconds, task.fields["detail"]])
    )
