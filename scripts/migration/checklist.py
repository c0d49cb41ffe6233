"""The plan's migration checklist, each item ticked or not from what is there to be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.formatting import counted

from .diagnosis import BACKGROUND
from .findings import Finding, commented_leftovers, scan
from .findings.finding import WAIT
from .findings.suite import Suite
from .repository import Repository
from .service.proposals import proposals
from .state import FOLDER, State
from .wiring import wired_options, wired_services

SHOWN = 3


@dataclass(frozen=True)
class Item:
    """An item of the checklist: whether it is done, why we think so, and how to do it."""

    title: str
    done: bool
    evidence: str
    next_step: str


def checklist(repository: Repository, state: State) -> list[Item]:
    """Return the seven items, in the plan's order."""
    return [*_set_up(repository, state), *_tests(repository, state), _cleaned(repository)]


def _set_up(repository: Repository, state: State) -> Iterator[Item]:
    options = wired_options(repository)
    services = [f"service {name}" for name in wired_services(repository)]
    proof = state.proof
    kept = len(state.records)
    is_wired = options or services
    nothing = "nothing had to be changed" if is_wired and proof else "nothing is kept"
    yield Item(
        "Back up the files that are changed",
        bool(kept or ((options or services) and proof)),
        f"{counted(kept, 'file')} kept as before, in {FOLDER}/" if kept else nothing,
        f"{_way_to_wire(repository)} (it backs up what it touches)",
    )
    shown = [number for number in options if number != 2 or 1 not in options]  # 1 has all of 2
    names = " and ".join([*(f"option {number}" for number in shown), *services])
    yield Item(
        "Wire the fast fixtures into conftest.py",
        bool(names),
        f"{repository.conftest} has {names or 'none'}",
        _way_to_wire(repository),
    )
    yield Item(
        "Run a single test to see that the setup works",
        bool(proof and proof["works"] and proof["option"] in (*options, *services)),
        _describe_proof(proof, (*options, *services)),
        f"{_way_to_wire(repository)} (it runs one at its end)",
    )


def _way_to_wire(repository: Repository) -> str:
    """Return what to type, for what there is to be wired."""
    suite = Suite(repository.root, repository.tests)
    found = [proposal.command(repository.root) for proposal in proposals(suite)]
    return "\n".join(found) or "apply"


def _describe_proof(proof: dict[str, Any] | None, options: Sequence[int | str]) -> str:
    if not proof:
        return "none was run"
    name = proof["option"] if isinstance(proof["option"], str) else f"option {proof['option']}"
    since = "" if proof["option"] in options else f"; {name} is gone since"
    return f"{proof['test']}: {proof['evidence']}{since}"


def _tests(repository: Repository, state: State) -> Iterator[Item]:
    waits = waits_in_tests(scan(repository.root, repository.tests))
    evidence = state.evidence
    is_current = evidence is not None and evidence["fingerprint"] == repository.fingerprint()
    failing = _fail_for_want_of_background(evidence) if is_current else []
    places = _places((f"{wait.path}:{wait.line}" for wait in waits), "scan lists")
    found = [f"{counted(len(waits), 'wait')}, {places}"] if waits else []
    if failing:
        places = _places(failing, "verify names")
        found.append(f"{counted(len(failing), 'test')} that waited, {places}")
    is_good = bool(evidence and is_current and evidence["is_good"])
    if waits and is_good:
        found.append("the tests pass as they are")
    yield Item(
        "Make the tests explicit that wait for background work",
        not found or (is_good and not any(wait.certain for wait in waits)),
        "; ".join(found) or "no test is found that waits for them",
        "fix (and scan and verify, for what it leaves to you)",
    )
    yield Item(
        "Run the full suite",
        is_good,
        _describe_run(evidence, is_current),
        _way_to_good(evidence) if is_current else "verify",
    )
    yield Item(
        "See that it has become faster",
        is_current and bool(evidence and evidence.get("is_faster")),
        _describe_speed_up(evidence),
        _way_to_speed(repository) if is_current and evidence else "verify",
    )


def _way_to_good(evidence: dict[str, Any] | None) -> str:
    """Say what keeps the suite from being good, which is what to do first."""
    reasons = evidence.get("reasons", ()) if evidence else ()
    return f"{reasons[0]}; then verify" if reasons else "verify"


def _way_to_speed(repository: Repository) -> str:
    """Say what to do where the suite was timed, and is not that much faster."""
    if set(wired_options(repository)) <= {2} and not wired_services(repository):
        return "apply --option 1 or 3, if the suite is to be faster: option 2 mends executors alone"
    return "scan (it lists the sleeps, where the time is likely to be left), then verify"


def _fail_for_want_of_background(evidence: dict[str, Any] | None) -> list[str]:
    regressions = evidence["regressions"] if evidence else ()
    return [r["nodeid"] for r in regressions if r["diagnosis"].startswith(BACKGROUND)]


def _places(names: Iterable[str], who_says: str) -> str:
    """Write the first of several places, how many there are, and where to see all."""
    places = list(names)
    shown = ", ".join(places[:SHOWN])
    if len(places) <= SHOWN:
        return f"in {shown}"
    return f"the first {SHOWN} in {shown} ({who_says} all {len(places)})"


def waits_in_tests(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are waits of a test, in it or in a helper that it calls.

    A slow fixture waits too, but that one is not used any more.
    """
    return [finding for finding in findings if finding.kind == WAIT and finding.tests]


def _describe_run(evidence: dict[str, object] | None, is_current: bool) -> str:
    if evidence is None:
        return "it was not run"
    counts = evidence["after"]
    assert isinstance(counts, dict)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    since = "" if is_current else "; the tests were edited since"
    regressions = evidence["regressions"]
    assert isinstance(regressions, list)
    worse = f", {len(regressions)} of them passed before" if regressions else ""
    why: dict[str, list[str]] = {}
    for regression in regressions:
        why.setdefault(regression["diagnosis"], []).append(regression["nodeid"])
    diagnoses = [
        f"{_places(nodeids, 'verify names')}: it {diagnosis}" for diagnosis, nodeids in why.items()
    ]
    return "\n".join([f"{evidence['date']}: {outcomes}{worse}{since}", *diagnoses])


def _describe_speed_up(evidence: dict[str, object] | None) -> str:
    factors = evidence["speed_up"] if evidence else None
    if not isinstance(factors, dict):
        return "it was not measured"
    names = {"median_overhead": "overhead of a test", "whole_run": "whole run"}
    return ", ".join(f"{names[n]}: {f:.1f} x" for n, f in factors.items() if f and n in names)


def _cleaned(repository: Repository) -> Item:
    leftovers = commented_leftovers(repository.root, repository.tests)
    lines = (f"{leftover.path}:{leftover.line}" for leftover in leftovers)
    places = _places(lines, "scan lists")
    return Item(
        "Remove old commented code",
        not leftovers,
        f"{counted(len(leftovers), 'piece')}, {places}" if leftovers else "there is none",
        "remove it by hand (scan lists it)",
    )
