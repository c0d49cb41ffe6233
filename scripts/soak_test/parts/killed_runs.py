"""Runs of pytest that are killed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.commands import CannotRunError
from shared.pytest_process import PytestProcess
from shared.timing import timed

from ..figures import Figure, exactly, told
from ..leftovers import end_what_stays
from ..workspace import RUN_MARK, RUN_PATIENCE, Workspace

KILL_PATIENCE = 10.0
"""Seconds that the system gets to end a process that was killed."""


def killed_runs(workspace: Workspace) -> Iterator[Figure]:
    """Kill pytest at random moments of its life, and look for what is left of it."""
    repo = workspace.repository("killed-runs", "test_killed_runs.py")
    [life] = timed(lambda: _run_to_the_end(workspace, repo), 1)
    chance = random.Random(workspace.seed)
    orphans: list[str] = []
    wanted = workspace.of(100)
    killed = folders = 0
    for attempt in range(2 * wanted):  # some end by themselves before their moment has come
        mark = f"{workspace.token}-{attempt}"
        with workspace.pytest(repo, mark=mark) as run:
            killed += _kill(run, chance.uniform(0, life), chance.choice((run.kill, run.kill_all)))
        orphans += end_what_stays(f"{RUN_MARK}={mark}")
        folders = max(folders, workspace.folders_left())
        workspace.progress.show("killed-runs", killed, wanted)
        if killed == wanted:
            break
    yield told("seed of the moments", workspace.seed, str)
    yield exactly("runs killed (SIGKILL), alone or as a group", killed, wanted)
    yield exactly("processes left", len(orphans), 0)
    yield told("folders left for the next start", folders)
    _run_to_the_end(workspace, repo)
    yield exactly("folders left after the next start", workspace.folders_left(), 0)


def _run_to_the_end(workspace: Workspace, repo: Path) -> None:
    with workspace.pytest(repo) as run:
        run.ends_within(RUN_PATIENCE)
        status = run.end()
    if status != 0:
        output = "".join(run.output())
        raise CannotRunError(f"a run that was not killed ended badly. pytest says:\n{output}")


def _kill(run: PytestProcess, moment: float, kill: Callable[[], None]) -> bool:
    """Kill *run* after so many seconds; say whether it had not ended by itself."""
    if run.ends_within(moment):
        return False
    kill()
    return run.ends_within(KILL_PATIENCE) and run.status == -signal.SIGKILL
