"""Runs of one side's tests, all of them or a sample, with the probe in their pytest."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mqtt_testing_probes
from shared.commands import CannotRunError
from shared.progress import Progress
from shared.pytest_process import InterruptedPytest, PytestProcess

from . import probe
from .pipe import Pipe
from .run import BEFORE, SWITCH, Run, Side

PLUGIN = "verify_speedup_probe"
"""The name of the copy of the probe, which is all of us that the tests' pytest gets to see."""

PATIENCE = 15.0
"""Seconds that pytest gets to exit after its last test, or to end a test that breaks the budget."""


@dataclass(frozen=True)
class Suite:
    """The tests, and what runs them."""

    repo: Path
    tests: Sequence[str]
    pytest_args: Sequence[str]
    python: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """What its environment has besides ours."""

    look: bool = False
    """Whether to look after each test at what is alive, and all the time at what waits."""

    @property
    def command(self) -> list[str]:
        """The command line of both sides."""
        return [self.python, "-m", "pytest", "-p", PLUGIN, *self.pytest_args, *self.tests]


def run_tests(
    suite: Suite,
    side: Side,
    progress: Progress,
    tests: int | None = None,
    seconds: float = math.inf,
) -> Run:
    """Run one side: all its tests, or so many, which take so many *seconds* at most.

    Without a limit, a test may take as long as it likes; only what comes after the last may not.

    Raises:
        CannotRunError: no test has ended.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Copies: the other files in our folders are none of the suite's business.
        shutil.copy(probe.__file__, folder / f"{PLUGIN}.py")
        mqtt_testing_probes.copy_to(folder)
        pipe = Pipe(folder / "pipe")
        stack.callback(pipe.close)
        orders = {
            "pipe": str(pipe.path),
            "tests": tests,
            "seconds": seconds,
            "look_into": str(suite.repo) if suite.look else None,
        }
        environment = {**_environment(suite, side, folder), probe.ORDERS: json.dumps(orders)}
        process = InterruptedPytest(suite.command, suite.repo, environment, folder, pipe.write_end)
        stack.enter_context(process)
        run = Run(side, tests)
        _watch(run, process, pipe, process.began + seconds + PATIENCE, progress)
        run.status, run.seconds = process.end(), process.seconds
        if not run.cut_off:
            run.read_output(*process.output())
    run.check()
    return run


def _environment(suite: Suite, side: Side, plugins: Path) -> dict[str, str]:
    environment = {**os.environ, **suite.variables, SWITCH: "original"}
    path = [str(plugins), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    if side.name != BEFORE.name:
        del environment[SWITCH]
    return environment


def _watch(
    run: Run, process: PytestProcess, pipe: Pipe, deadline: float, progress: Progress
) -> None:
    """Follow what the probe tells to the end of the process, or end it at the *deadline*."""
    while True:
        try:
            lines = pipe.read(deadline)
        except TimeoutError:
            run.cut_off = "after its last test" if run.finished else f"in {run.running}"
            run.read_output(*process.output())
            process.end()
            deadline = math.inf
            continue
        for line in lines:
            if not line:
                return
            news = json.loads(line)
            seconds = time.perf_counter() - process.began
            run.take(news, seconds)
            if run.parallel and run.asked_for:
                raise CannotRunError(
                    "tests that run in parallel cannot be sampled: "
                    "give `-- -n0` (pytest-xdist), or --full"
                )
            if "test" in news or "running" in news:
                progress.show(run.side.name, len(run.tests), run.planned, run.unit, run.running)
            if run.finished and not run.cut_off:
                deadline = process.began + run.last_test_ended + PATIENCE


def run_sample(suite: Suite, budget: float, progress: Progress) -> Run:
    """Run the slow side as far as it goes in *budget* seconds.

    One test is run ahead, to know how many fit.
    """
    pilot = run_tests(suite, BEFORE, progress, tests=1, seconds=budget)
    a_test = pilot.tests[0].total
    besides = pilot.seconds - a_test
    left = budget - pilot.seconds - besides
    if left < a_test:
        return pilot
    fitting = int(min(left / a_test, pilot.collected))
    return run_tests(suite, BEFORE, progress, tests=fitting, seconds=left)
