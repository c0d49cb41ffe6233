"""Both sides of a comparison: the suite as it was and as it is, timed, with what it told."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.commands import CannotRunError
from shared.progress import Progress
from speedup.comparison import Comparison
from speedup.report import describe, notes, table
from speedup.run import Run, Side
from speedup.running import Suite, run_tests

from .before import COPY
from .pytest_runs import PLUGIN, Pytest, PytestRun, clean_environment, no_traces, read_news
from .state import FOLDER

BEFORE, AFTER = Side("before", "as it was"), Side("after", "as it is")


@dataclass(frozen=True)
class Outcome:
    """How a test ended, why, and the seconds that it took."""

    outcome: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Ran:
    """One side: how its tests ended, and what the probe has told."""

    run: Run
    told: PytestRun

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """How each test ended, by its name in the repository."""
        return {
            in_repository(t.nodeid): Outcome(t.outcome, t.reason, t.total) for t in self.run.tests
        }


def in_repository(nodeid: str) -> str:
    """Return what a test is called in the repository.

    Where pytest's settings are above it, the names begin there, and the copy is in them.
    """
    return nodeid.replace(f"{FOLDER}/{COPY}/", "", 1)


def run_side(pytest: Pytest, side: Side, words: Sequence[str], copy: Path | None = None) -> Ran:
    """Run the suite, in a *copy* or in the repository itself.

    Raises:
        CannotRunError: no test has ended.
    """
    root = pytest.repository.root
    where = copy or root
    arguments = [word.replace(str(root), str(where)) for word in words]
    progress = Progress()
    with tempfile.TemporaryDirectory() as folder:
        probed = replace(pytest, repository=replace(pytest.repository, root=where))
        variables = {**clean_environment(), **probed.environment(Path(folder))}
        options = ["-p", PLUGIN, "--continue-on-collection-errors", *no_traces(folder)]
        suite = Suite(where, [], [*options, *arguments], pytest.repository.python, variables)
        told = PytestRun()
        try:
            run = run_tests(suite, side, progress)
        except CannotRunError as error:
            _take_in(told, Path(folder))
            raise CannotRunError(
                f"the suite cannot be compared: {side.name}, no test has ended: "
                f"{_why(told, str(error))}"
            ) from None
        finally:
            progress.clear()
        _take_in(told, Path(folder))
        told.output = run.output
    return Ran(run, told)


def leaving_out(nodeid: str) -> str:
    """Say how to go on without a test."""
    return f"leave it out: -- --deselect {in_repository(nodeid)}"


def _why(told: PytestRun, said: str) -> str:
    if told.hang:
        return f"it hangs in {told.hang}; {leaving_out(told.hung_in)}"
    failed = [f"{in_repository(path)}: {reason}" for path, reason in told.errors.items()]
    asked = f" ({told.places} was asked for)" if told.addresses else ""
    # The last, as pytest prints how it is used before it says what is wrong.
    errors: list[str] = re.findall(r"\w*error: .*", said, re.IGNORECASE)
    verdict = said.partition(" ended. ")[2].partition(". It says:")[0]
    return [*failed, *errors[-1:], verdict or said][0] + asked


def _take_in(told: PytestRun, folder: Path) -> None:
    for line in read_news(folder / "report"):
        told.take(json.loads(line))


def figures(before: Ran, after: Ran, root: Path) -> tuple[dict[str, Any], str]:
    """Return everything that was measured, and the same in words."""
    from shared.tables import as_text

    comparison = Comparison(before.run, after.run)
    description = describe(comparison, root)
    lines = [as_text(table(comparison)), "", *notes(comparison, description)]
    # Whether a fixture was replaced is asked there; here it is known.
    return description, "\n".join(line for line in lines if "was any fixture replaced" not in line)
