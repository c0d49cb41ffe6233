"""The suite before and after the migration: what became of each test, and why."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.formatting import counted

from .before import as_it_was
from .collected import found_tests, lost_tests
from .diagnosis import DIAGNOSES
from .findings import Finding, scan
from .pytest_runs import CollectedTest, Pytest, PytestRun
from .repository import Repository
from .sides import AFTER, BEFORE, Outcome, Ran, figures, in_repository, leaving_out, run_side
from .slowest import Slow, slowest
from .state import State
from .wiring import essential_fixtures, watched_fixtures, wired_options, wired_services

FASTER = 1.1
"""The ratio from which on something has become faster, and not just by chance."""

WORTH_IT = 0.2
"""The seconds that it has to be, all tests together."""

WORTH_IT_AT_EXIT = 1.0
"""The same for the exit of pytest, where a busy machine does more."""

ABOUT_AS_LONG = "Both sides take about as long"

RUN_AGAIN = 10
"""Tests that became worse and are run again, at most: more are no matter of chance."""

_PROBE_TIMEOUT = 2.0


@dataclass(frozen=True)
class Regression:
    """A test that passed before, and does not now."""

    nodeid: str
    outcome: str
    reason: str
    diagnosis: str

    def in_words(self) -> str:
        """Say what became of it, and why."""
        return (
            f"{self.nodeid}: passed before, {self.outcome} now: {self.reason}\n"
            f"    it {self.diagnosis}"
        )


@dataclass(frozen=True)
class Verification:
    """What the comparison of the two sides has shown."""

    reasons: list[str]
    """Why it is not good, what matters most first; none if it is."""
    regressions: list[Regression]
    newly_passing: list[str]
    before: dict[str, int]
    after: dict[str, int]
    uncollected: dict[str, str]
    slowest: list[Slow]
    is_faster: bool
    speed_up: dict[str, float | None]
    median_overhead: dict[str, float] | None
    remarks: list[str]
    date: str
    fingerprint: str

    @property
    def is_good(self) -> bool:
        """Return whether the wiring is in effect, nothing got worse, and something faster."""
        return not self.reasons


def verify(
    repository: Repository,
    state: State,
    words: Sequence[str],
    timeout: float,
    show: Callable[[str], None],
) -> Verification:
    """Run the suite as it was and as it is, with *words* for pytest, and compare.

    The suite as it was runs in a copy, where the files have their contents of before: with the
    original fixture, the tests that have been made explicit would fail.

    Raises:
        CannotRunError: one of them cannot be run.
    """
    fingerprint = repository.fingerprint()
    pytest = Pytest(repository, watched_fixtures(repository), timeout)
    with as_it_was(repository, state) as copy:
        before = run_side(pytest, BEFORE, words, copy)
        after = run_side(pytest, AFTER, words)
        worse = _worse(before.outcomes, after.outcomes)
        again = _run_again(pytest, copy, after, worse)
    described, text = figures(before, after, repository.root)
    show(text)
    remarks = [*(r for r in described["remarks"] if ABOUT_AS_LONG not in r), *again.remarks]
    remarks += found_tests(_in_place(before.told), after.told)
    is_faster = _is_faster(before, after, described["median_overhead"])
    no_broker = _without_broker(before)
    regressions = list(_regressions(repository, again.worse, after.outcomes, again))
    reasons = [
        *_ended_in_a_test(before, after),
        *_not_in_effect(repository, after),
        *(r.in_words() for r in regressions[:1]),
        *lost_tests(_in_place(before.told), after.told),
        *_nothing_passes(after),
        *_no_faster(repository, no_broker, is_faster=is_faster),
    ]
    return Verification(
        reasons=reasons,
        regressions=regressions,
        newly_passing=_newly_passing(before.outcomes, after.outcomes),
        before=_counts(before),
        after=_counts(after),
        uncollected=after.told.errors,
        slowest=slowest(after),
        is_faster=is_faster,
        speed_up=described["speed_up"],
        median_overhead=described["median_overhead"],
        remarks=[*no_broker, *remarks, *_nothing_to_expect(repository, is_faster=is_faster)],
        date=described["date"],
        fingerprint=fingerprint,
    )


def _counts(side: Ran) -> dict[str, int]:
    return dict(Counter(o.outcome for o in side.outcomes.values()))


def _newly_passing(before: Mapping[str, Outcome], after: Mapping[str, Outcome]) -> list[str]:
    passing = (nodeid for nodeid, outcome in after.items() if outcome.outcome == "passed")
    return sorted(n for n in passing if n in before and before[n].outcome != "passed")


def _in_place(told: PytestRun) -> PytestRun:
    """Return what the side in the copy has told, as if it had been in the repository."""
    tests = [
        CollectedTest(in_repository(t.nodeid), t.is_skipped, t.fixtures, t.of_plugins)
        for t in told.tests
    ]
    errors = {in_repository(path): reason for path, reason in told.errors.items()}
    return replace(told, tests=tests, errors=errors)


# --- Why it is not good -------------------------------------------------------------------------


def _ended_in_a_test(before: Ran, after: Ran) -> Iterator[str]:
    """Say on which side the run has ended in a test: what comes after it was not compared."""
    for side in (after, before):
        name, rest = side.run.side.name, "What comes after was not run"
        if side.told.hang:
            yield f"{name}, it hangs in {side.told.hang}. {rest}; {leaving_out(side.told.hung_in)}"
        elif not (side.run.finished or side.run.cut_off or side.run.stopped):
            test = side.run.running
            yield f"{name}, pytest died in {in_repository(test)}. {rest}; {leaving_out(test)}"


def _not_in_effect(repository: Repository, after: Ran) -> Iterator[str]:
    """Say which of the fixtures that were wired was not used, and why."""
    used = after.told.used
    wanted = essential_fixtures(repository)
    for name in wanted:
        if used.get(name) is False:
            refused = [r for r in after.told.refusals if r.startswith(f"{name} ")]
            yield (refused or [f"{name} is not in effect: the tests get another fixture"])[0]
    if not any(used.get(name) for name in wanted):
        names = " or ".join(wanted) or "what was wired"
        yield (after.told.refusals or [f"not in effect: no test that ran has used {names}"])[0]


def _nothing_passes(after: Ran) -> Iterator[str]:
    if not any(outcome.outcome == "passed" for outcome in after.outcomes.values()):
        yield "no test passes"


def _no_faster(
    repository: Repository, no_broker: Sequence[str], *, is_faster: bool
) -> Iterator[str]:
    if is_faster or _mends_executors_alone(repository):
        return
    options = wired_options(repository)
    if no_broker:
        yield no_broker[0]
    elif options == [3]:
        yield (
            f"{ABOUT_AS_LONG}: the time goes to sleeps, which option 3 leaves where they are. scan "
            "lists them"
        )
    else:
        yield f"{ABOUT_AS_LONG}: nothing has become faster"


def _is_faster(before: Ran, after: Ran, medians: Mapping[str, float] | None) -> bool:
    """Return whether tests, their fixtures or the exit are faster, and not just by chance."""
    common = before.outcomes.keys() & after.outcomes.keys()
    tests = [sum(side.outcomes[nodeid].seconds for nodeid in common) for side in (before, after)]
    fixtures = [seconds * len(common) for seconds in (medians or {}).values()] or [0.0, 0.0]
    exits = [side.run.exit_seconds for side in (before, after)]
    saved = ((tests, WORTH_IT), (fixtures, WORTH_IT), (exits, WORTH_IT_AT_EXIT))
    return any(was - now >= least and was >= FASTER * now for (was, now), least in saved)


def _mends_executors_alone(repository: Repository) -> bool:
    return wired_options(repository) == [2] and not wired_services(repository)


def _nothing_to_expect(repository: Repository, *, is_faster: bool) -> Iterator[str]:
    if _mends_executors_alone(repository) and not is_faster:
        yield (
            f"{ABOUT_AS_LONG}: option 2 mends executors, and makes nothing faster. Options 1 and 3 "
            "do"
        )


def _without_broker(before: Ran) -> list[str]:
    """Say whom the suite as it was could not reach, if that is why its tests failed."""
    failed = [o for o in before.outcomes.values() if o.outcome in ("failed", "error")]
    if not failed or before.run.brokers or before.run.connections:
        return []
    by_port = {port: host for host, port in reversed(before.told.addresses)}  # as it was asked for
    silent = [(host, port) for port, host in by_port.items() if not _answers(host, port)]
    places = ", ".join(f"{host}:{port}" for host, port in silent[:3])
    if not places:
        return []
    return [
        f"the before side got no connection to {places}, where nothing answers: "
        f"{counted(len(failed), 'test')} failed there. Start that broker, and verify again"
    ]


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PROBE_TIMEOUT).close()
    except OSError:
        return False
    return True


# --- What got worse -----------------------------------------------------------------------------


def _worse(before: Mapping[str, Outcome], after: Mapping[str, Outcome]) -> list[str]:
    passed = [nodeid for nodeid, outcome in before.items() if outcome.outcome == "passed"]
    return [n for n in passed if n not in after or after[n].outcome != "passed"]


@dataclass(frozen=True)
class _Again:
    """What came of the tests that became worse as they were run once more."""

    worse: list[str]
    passed_alone: set[str]
    remarks: list[str]


def _run_again(pytest: Pytest, copy: Any, after: Ran, worse: Sequence[str]) -> _Again:
    """Run what became worse once more, on both sides, to know what is a matter of chance."""
    failed = [nodeid for nodeid in worse if nodeid in after.outcomes]
    if not 0 < len(failed) <= RUN_AGAIN or after.told.hang:
        return _Again(list(worse), set(), [])
    words = [f"{after.told.rootdir}/{nodeid}" for nodeid in failed]
    before_again = run_side(pytest, BEFORE, words, copy).outcomes
    after_again = run_side(pytest, AFTER, words).outcomes
    unsteady = {n for n in failed if n in before_again and before_again[n].outcome != "passed"}
    passed = {n for n in failed if n in after_again and after_again[n].outcome == "passed"}
    remarks = [f"{n} was unsteady before: it passed, then failed, as it was" for n in unsteady]
    return _Again([n for n in worse if n not in unsteady], passed, sorted(remarks))


def _regressions(
    repository: Repository, worse: Sequence[str], after: Mapping[str, Outcome], again: _Again
) -> Iterator[Regression]:
    options = wired_options(repository)
    is_service = 1 in options or bool(wired_services(repository))
    diagnose = DIAGNOSES[1 if is_service else max(options, default=1)]
    findings: list[Finding] | None = None
    for nodeid in worse:
        ended = after.get(nodeid, Outcome("not run", "", 0.0))
        if findings is None:
            findings = scan(repository.root, repository.tests)
        diagnosis = diagnose(repository, nodeid, ended.reason, findings)
        if nodeid in again.passed_alone:
            diagnosis = (
                "passed as it was run again by itself: it is unsteady, or depends on the tests "
                f"before it. It {diagnosis}"
            )
        yield Regression(nodeid, ended.outcome, ended.reason, diagnosis)
