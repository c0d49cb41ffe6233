"""Compares the suite as it was with the suite as it is."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from shared.formatting import counted

from ..output import Output
from ..pytest_runs import left_out
from ..repository import Repository
from ..slowest import in_words
from ..state import State
from ..wiring import wired_options, wired_services
from . import DONE, LEFT_TO_DO


def run_verification(
    repository: Repository, state: State, options: argparse.Namespace, output: Output
) -> int:
    """Compare the suite as it was with the suite as it is."""
    if not wired_options(repository) and not wired_services(repository):
        output.say("There is nothing to compare yet. Next: apply.")
        return LEFT_TO_DO
    from ..verification import verify  # on use: it brings what draws tables

    state.tests = repository.tests
    state.save()
    verification = verify(repository, state, options.pytest_args, options.timeout, output.say)
    evidence = {**asdict(verification), "is_good": verification.is_good}
    if not options.pytest_args:  # or it is of some of the tests
        state.evidence = evidence
        state.save()
    output.data.update(evidence)
    output.say(*left_out(verification.uncollected))
    output.say(*(regression.in_words() for regression in verification.regressions))
    if verification.newly_passing:
        output.say(f"{counted(len(verification.newly_passing), 'test')} passing now, not before.")
    output.say(*(f"Note: {remark}" for remark in verification.remarks))
    output.say(*in_words(verification.slowest))
    if verification.is_good:
        output.say("Good: it is in effect, and no test has become worse.")
        return DONE
    reason, *_ = verification.reasons[0].splitlines()  # the rest is said above
    output.say(f"Not good: {reason}")
    return LEFT_TO_DO
