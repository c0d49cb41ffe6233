"""Wires the modules into a repository, and sees that it takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from shared.commands import CannotRunError

from ..collected import found_tests, lost_tests
from ..findings.sources import python_files
from ..findings.suite import Suite
from ..options import OPTIONS, SERVICE_SOURCE, Option
from ..output import Output, indented
from ..pytest_runs import CollectedTest, Pytest, PytestRun, left_out
from ..repository import Repository
from ..service.proposals import proposals
from ..state import State
from ..wiring import (
    is_in_effect,
    missing_tests,
    notes,
    planned_changes,
    source_in,
    useful_tests,
    watched_fixtures,
    wired_options,
)
from . import DONE, LEFT_TO_DO


def apply(repository: Repository, state: State, options: argparse.Namespace, output: Output) -> int:
    """Wire the modules into the repository, and see that it takes."""
    wired_options(repository)  # before pytest, which says less well that conftest.py is no Python
    wanted = _Wanted(repository, options)
    watched = {**watched_fixtures(repository), wanted.fixture: wanted.source}
    pytest = Pytest(repository, watched, options.timeout)
    collected = pytest.collect()
    output.data["uncollected"] = collected.errors
    output.say(*left_out(collected.errors))
    option = wanted.option(collected)
    _check_it_is_of_use(option, collected, wanted)
    changes = planned_changes(repository, option, collected, state)
    output.show_changes(changes, as_diff=options.dry_run)
    output.data["by_hand"] = list(option.remarks)
    if not changes:
        output.say("Everything is in place.")
    output.data["notes"] = notes(repository, option, collected)
    output.say(*(f"Note: {note}" for note in output.data["notes"]))
    if options.dry_run:
        return LEFT_TO_DO if changes else DONE
    state.tests, state.renames = repository.tests, dict(repository.renames)
    if changes:
        files = python_files(repository.root / repository.tests)
        state.make(changes, tests=[repository.tests / path for path in files])
    proof = {**_proof(option, pytest, collected), "option": wanted.name}
    if proof != state.proof:
        state.proof = proof
        state.save()
    return _show(proof, option.remarks if changes else (), output)


def _check_it_is_of_use(option: Option, collected: PytestRun, wanted: _Wanted) -> None:
    """Raise if the option serves no test; what wants a broker may be collected with it in place."""
    if collected.tests:
        if not useful_tests(option, collected):
            raise missing_tests(option, collected, wanted.proposals())
    elif not option.redirection:
        raise CannotRunError(
            f"pytest collects no tests here, where files ask for {collected.places} as they are "
            f"imported: {collected.reason}. apply --option 3 leads that to the test broker"
        )


class _Wanted:
    """What the command line asks for."""

    def __init__(self, repository: Repository, options: argparse.Namespace) -> None:
        self._repository = repository
        self._service: str | None = options.service
        self._option: int = options.option
        if bool(options.service) != bool(options.fixture):
            found = "; ".join(self.proposals()) or "none was found here"
            raise CannotRunError(
                f"--service and --fixture go together. Services and their fixtures: {found}"
            )
        self.fixture: str = options.fixture or OPTIONS[self._option].fixture
        self.source = SERVICE_SOURCE if self._service else source_in(repository, self._of_number())
        self.name: int | str = f"service {self.fixture}" if self._service else self._option

    def _of_number(self) -> Option:
        return OPTIONS[self._option]

    def option(self, collected: PytestRun) -> Option:
        """Return what is to be wired."""
        if not self._service:
            return self._of_number()
        from ..service.writing import service_option

        modules = {name: m for test in collected.tests for name, m in test.fixtures.items()}
        return service_option(self._repository, self._service, self.fixture, modules)

    def proposals(self) -> list[str]:
        """Return the commands that wire what is found here."""
        suite = Suite(self._repository.root, self._repository.tests)
        return [p.command(self._repository.root) for p in proposals(suite)]


def _proof(option: Option, pytest: Pytest, collected: PytestRun) -> dict[str, Any]:
    """Run a test that gets what was wired, and say whether it was seen to."""
    first = next((test.nodeid for test in useful_tests(option, collected)), "-")
    if option.is_service and not option.needs_fixture:
        evidence = f"no test asks for {option.fixture} yet"
        return _nothing_shown("-", evidence)
    try:
        run = pytest.prove(option.fixture)
    except CannotRunError as error:
        return _nothing_shown(first, str(error))
    tests = useful_tests(option, run)
    if not tests:
        lost = [] if run.hang else lost_tests(collected, run) or [run.error]
        evidence = "\n".join(lost) or f"it hangs: {run.hang}"
        return _nothing_shown(first, evidence, lost)
    proof = _evidence(option, _telling_test(option, tests, run), run, lost_tests(collected, run))
    return {**proof, "found": found_tests(collected, run)}


def _nothing_shown(test: str, evidence: str, lost: Sequence[str] = ()) -> dict[str, Any]:
    return {"test": test, "works": False, "evidence": evidence, "refusals": [], "lost": list(lost)}


def _telling_test(option: Option, tests: Sequence[CollectedTest], run: PytestRun) -> CollectedTest:
    """Return the test that shows most of those that were run: set up, not skipped, in effect."""
    ran = [test for test in tests if test.nodeid in run.outcomes] or list(tests)

    def rank(test: CollectedTest) -> tuple[bool, bool]:
        return not is_in_effect(option, test), _set_up_of(test, run)[0] != "passed"

    return min(ran, key=rank)


def _set_up_of(test: CollectedTest, run: PytestRun) -> tuple[str, str]:
    phases = run.outcomes.get(test.nodeid, {})
    return phases.get("setup", ("not run", run.hang or run.error))


def _evidence(
    option: Option, test: CollectedTest, run: PytestRun, lost: Sequence[str]
) -> dict[str, Any]:
    """Say whether the override was seen to take in a test that was run."""
    set_up, reason = _set_up_of(test, run)
    without_call = (
        ("did not end", run.hang) if run.hang and set_up == "passed" else (set_up, reason)
    )
    outcome, why = run.outcomes.get(test.nodeid, {}).get("call", without_call)
    took = is_in_effect(option, test)
    was_used = run.used.get(option.fixture, False)
    name = f"{option.fixture} comes from {test.fixtures.get(option.fixture, 'nowhere')}"
    words = [f"{name}, {'as it should' if took else f'not from {option.source}'}"]
    words += [f"its set-up {set_up}" + (f": {reason}" if set_up != "passed" else "")]
    if set_up == "passed":
        words += [f"the test itself {outcome}" + (f": {why}" if outcome != "passed" else "")]
    if set_up == "passed" and not was_used:
        words += [f"no test was seen to use {option.fixture}"]
    evidence = ["; ".join(words), *([f"it hangs: {run.hang}"] if run.hang else [])]
    return {
        "test": test.nodeid,
        "works": took and was_used and not run.hang and not lost,
        "override_took": took,
        "outcome": outcome,
        "evidence": "\n".join([*evidence, *lost, *run.refusals]),
        "refusals": run.refusals,
        "lost": list(lost),
    }


def _show(proof: dict[str, Any], by_hand: Sequence[str], output: Output) -> int:
    output.data["proof"] = proof
    output.say(indented(f"{proof['test']}: {proof['evidence']}", 4))
    output.say(*(f"Good news: {found}" for found in proof.get("found", ())))
    output.say(*(f"By hand: {remark}" for remark in by_hand))
    if proof["works"] and (proof["refusals"] or by_hand):
        output.say("It works but for the above; rollback takes everything back.")
        return LEFT_TO_DO
    if proof["works"]:
        output.say("Next: fix, then verify. rollback takes everything back.")
        return DONE
    if proof["lost"]:
        output.say("Tests are lost as it is; rollback takes everything back.")
    else:
        output.say("The setup does not work yet; rollback takes everything back.")
    return LEFT_TO_DO
