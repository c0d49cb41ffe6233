#!/usr/bin/env python3
"""Walk the migration checklist for a repository, and take everything back if need be.

    scripts/migrate.py status ~/thermostat      the checklist, and the next step
    scripts/migrate.py apply ~/thermostat       copy the modules, add the imports, run one test
    scripts/migrate.py scan ~/thermostat        where the tests do by hand what the modules do
    scripts/migrate.py fix ~/thermostat         rewrite what is certain
    scripts/migrate.py verify ~/thermostat      run the suite as it was and as it is, and compare
    scripts/migrate.py rollback ~/thermostat    have every file as it was, byte for byte

The exit status is 0 if it is done, 1 if something is left to do, 2 if it cannot be done. What is
needed to take it back is kept in the repository, in .mqtt-migration/, which git does not show.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from migration.checklist import checklist, waits_in_tests
from migration.findings import Finding, commented_leftovers, scan
from migration.pytest_runs import CollectedTest, PytestRun, collect, run_test
from migration.repository import CannotMigrateError, Repository, count, encode_like, open_repository
from migration.state import Change, State
from migration.verification import Verification, verify
from migration.wiring import (
    OPTIONS,
    Option,
    is_in_effect,
    planned_changes,
    useful_tests,
    wired_options,
)

DONE, LEFT_TO_DO, CANNOT = 0, 1, 2


class Output:
    """Speaks to people line by line, or to machines in one JSON document at the end."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self.data: dict[str, Any] = {}

    def say(self, *lines: str) -> None:
        """Print lines for people."""
        if not self._is_json:
            print(*lines, sep="\n", flush=True)

    def finish(self, status: int) -> int:
        """Print the document for machines; return the exit status."""
        if self._is_json:
            print(json.dumps({**self.data, "exit_status": status}, indent=2, default=str))
        return status

    def show_changes(self, changes: Sequence[Change], *, as_diff: bool) -> None:
        """Show what will be changed."""
        self.data["changes"] = [
            {"path": str(change.path), "action": change.action, "diff": change.diff()}
            for change in changes
        ]
        for change in changes:
            if as_diff:
                self.say(change.diff().rstrip("\n"))
            else:
                self.say(f"{change.action} {change.path}")

    def show_findings(self, name: str, findings: Sequence[Finding]) -> None:
        """Show what was found."""
        self.data[name] = [asdict(finding) for finding in findings]
        for finding in findings:
            doubt = "" if finding.certain else " (to be decided by you)"
            self.say(f"{finding.path}:{finding.line}: {finding.what}{doubt}")
            self.say(f"    instead: {finding.replacement}")


# --- The commands -------------------------------------------------------------------------------


def show_status(
    repository: Repository, state: State, _options: argparse.Namespace, output: Output
) -> int:
    """Tick the checklist, and say what comes next."""
    items = checklist(repository, state)
    output.data["items"] = [asdict(item) for item in items]
    for item in items:
        evidence = _indented(item.evidence, 6)
        output.say(f"- [{'x' if item.done else ' '}] {item.title}", f"      {evidence}")
    to_do = next((item for item in items if not item.done), None)
    output.data["next_step"] = to_do and to_do.next_step
    output.say(f"Next: {to_do.next_step}" if to_do else "All done.")
    return LEFT_TO_DO if to_do else DONE


def _indented(text: str, spaces: int) -> str:
    """Indent all lines but the first."""
    return text.replace("\n", "\n" + " " * spaces)


def apply(repository: Repository, state: State, options: argparse.Namespace, output: Output) -> int:
    """Wire the modules into the repository, and see that it takes."""
    option = OPTIONS[options.option]
    wired_options(repository)  # before pytest, which says less well that conftest.py is no Python
    collected = collect(repository)
    tests = useful_tests(option, collected)
    changes = planned_changes(repository, option, collected, state)
    output.show_changes(changes, as_diff=options.dry_run)
    if not changes:
        output.say("Everything is in place.")
    if options.dry_run:
        return LEFT_TO_DO if changes else DONE
    state.tests = repository.tests
    if changes:
        state.make(changes)
    proof = _seen_to_take(repository, option, tests, collected, is_changed=bool(changes))
    proof["option"] = options.option
    if proof != state.proof:
        state.proof = proof
        state.save()
    return _show_proof(proof, output)


def _seen_to_take(
    repository: Repository,
    option: Option,
    tests: Sequence[CollectedTest],
    collected: PytestRun,
    *,
    is_changed: bool,
) -> dict[str, Any]:
    """Run a test that gets the override; *tests* and *collected* are from before the changes."""
    test = tests[0]
    try:
        if is_changed:
            collected = collect(repository)
            tests = useful_tests(option, collected)
        # The first, if there is none better.
        test = min(tests, key=lambda t: (not is_in_effect(option, t), t.is_skipped))
        return _proof(option, test, run_test(repository, collected, test), collected.refusals)
    except CannotMigrateError as error:
        return {"test": test.nodeid, "works": False, "evidence": str(error), "refusals": []}


def _show_proof(proof: dict[str, Any], output: Output) -> int:
    output.data["proof"] = proof
    output.say(_indented(f"{proof['test']}: {proof['evidence']}", 4))
    if proof["works"] and proof["refusals"]:
        output.say("It works but for the above; rollback takes everything back.")
        return LEFT_TO_DO
    if proof["works"]:
        output.say("Next: fix, then verify. rollback takes everything back.")
        return DONE
    output.say("The setup does not work yet; rollback takes everything back.")
    return LEFT_TO_DO


def _proof(
    option: Option, collected: CollectedTest, run: PytestRun, refusals: Sequence[str]
) -> dict[str, Any]:
    """Say whether the override was seen to take in a test that was run."""
    test = next(iter(run.tests), collected)
    set_up, reason = run.outcomes.get("setup", ("not run", run.error))
    outcome, why = run.outcomes.get("call", (set_up, reason))
    took = is_in_effect(option, test)
    name = f"{option.fixture} comes from {test.fixtures.get(option.fixture, 'nowhere')}"
    words = [f"{name}, {'as it should' if took else f'not from {option.source}'}"]
    words += [f"its set-up {set_up}" + (f": {reason}" if set_up != "passed" else "")]
    if set_up == "passed":
        words += [f"the test itself {outcome}" + (f": {why}" if outcome != "passed" else "")]
    return {
        "test": collected.nodeid,
        "works": took and set_up == "passed",
        "override_took": took,
        "outcome": outcome,
        "evidence": "\n".join(["; ".join(words), *refusals]),
        "refusals": list(refusals),
    }


def show_findings(
    repository: Repository, _state: State, _options: argparse.Namespace, output: Output
) -> int:
    """Print what the tests do by hand."""
    where = repository.root, repository.tests
    findings, leftovers = scan(*where), commented_leftovers(*where)
    output.show_findings("findings", findings)
    output.show_findings("leftovers", leftovers)
    certain = sum(finding.certain for finding in findings)
    output.say(
        f"{count(len(findings), 'finding')}, of which fix rewrites {certain}; "
        f"{count(len(leftovers), 'piece')} of old commented code."
    )
    return LEFT_TO_DO if findings or leftovers else DONE


def fix(repository: Repository, state: State, options: argparse.Namespace, output: Output) -> int:
    """Rewrite what is certain, and show the rest."""
    try:
        from migration.fixes import fixed_sources
    except ModuleNotFoundError as error:
        raise CannotMigrateError(
            f"fix needs {error.name}: {sys.executable} -m pip install {error.name}"
        ) from None
    changes = []
    for path, text in fixed_sources(repository.root, repository.tests).items():
        old = repository.read(path) or b""
        changes.append(Change(path, old, encode_like(old, text)))
    changes = [change for change in changes if change.old != change.new]
    output.show_changes(changes, as_diff=options.dry_run)
    if options.dry_run:
        return LEFT_TO_DO if changes else DONE
    if changes:
        state.tests = repository.tests
        state.make(changes)
    findings = scan(repository.root, repository.tests)
    output.show_findings("findings", findings)
    left = waits_in_tests(repository, findings)
    output.say(
        f"{count(len(changes), 'file')} rewritten; {count(len(findings), 'finding')} left to you, "
        f"{len(left)} of them in tests that wait for background work."
    )
    return LEFT_TO_DO if left else DONE


def run_verification(
    repository: Repository, state: State, _options: argparse.Namespace, output: Output
) -> int:
    """Compare the suite as it was with the suite as it is."""
    if not wired_options(repository):
        output.say("There is nothing to compare yet. Next: apply.")
        return LEFT_TO_DO
    state.tests = repository.tests
    state.save()
    verification = verify(repository, state, output.say)
    state.evidence = {**asdict(verification), "is_good": verification.is_good}
    state.save()
    output.data.update(state.evidence)
    _show_verification(verification, output)
    return DONE if verification.is_good else LEFT_TO_DO


def _show_verification(verification: Verification, output: Output) -> None:
    for regression in verification.regressions:
        output.say(
            f"{regression.nodeid}: passed before, {regression.outcome} now: {regression.reason}",
            f"    it {regression.diagnosis}",
        )
    if verification.newly_passing:
        output.say(f"{count(len(verification.newly_passing), 'test')} passing now, not before.")
    output.say(
        "No test has become worse." if verification.is_good else "This is not as good as before.",
    )


def rollback(
    repository: Repository, state: State, options: argparse.Namespace, output: Output
) -> int:
    """Have every file as it was, unless that would lose what the user has done since."""
    edits = state.edits()
    if edits:
        output.data["edits"] = [{"path": str(e.path), "diff": e.diff()} for e in edits]
        output.say("These edits were made since, and would be lost:", *(e.diff() for e in edits))
        files = ", ".join(sorted({str(edit.path) for edit in edits}))
        raise CannotMigrateError(
            f"{files} was edited since; keep the edits elsewhere, undo them, and roll back again"
        )
    changes = state.restoration()
    output.show_changes(changes, as_diff=options.dry_run)
    if options.dry_run:
        return LEFT_TO_DO if changes else DONE
    state.restore()
    output.say(f"{repository.root} is as it was." if changes else "There is nothing to take back.")
    return DONE


# --- The command line ---------------------------------------------------------------------------

Command = Callable[[Repository, State, argparse.Namespace, Output], int]

COMMANDS: dict[str, Command] = {
    "status": show_status,
    "apply": apply,
    "scan": show_findings,
    "fix": fix,
    "verify": run_verification,
    "rollback": rollback,
}


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").rstrip(".")
        own = commands.add_parser(name, help=summary, description=f"{summary}.")
        own.add_argument("repo", metavar="REPO", type=Path, help="the folder of the repository")
        own.add_argument("--json", action="store_true", help="print one JSON document")
        own.add_argument("--tests", type=Path, help="its folder of tests (default: tests or test)")
        if name in ("apply", "fix", "rollback"):
            own.add_argument("--dry-run", action="store_true", help="print a diff, change nothing")
        if name in ("apply", "verify"):
            own.add_argument(
                "--python", metavar="EXE", help="what runs its tests (default: its .venv, or this)"
            )
        if name == "apply":
            own.add_argument(
                "--option",
                type=int,
                choices=OPTIONS,
                default=1,
                help="1: the fast camera_detector (default), 2: the fix of the executors alone, "
                "3: every MQTT client of the process, for suites without a service fixture",
            )
    return parser.parse_args(words)


def run(options: argparse.Namespace, output: Output) -> int:
    """Do what was asked for."""
    root: Path = options.repo
    state = State(root.resolve())
    tests = options.tests or state.tests
    repository = open_repository(root, tests, getattr(options, "python", None))
    return COMMANDS[options.command](repository, state, options, output)


def main(words: Sequence[str] | None = None) -> int:
    """Do it, and turn what can go wrong into one line."""
    options = parse(sys.argv[1:] if words is None else words)
    output = Output(options.json)
    try:
        return output.finish(run(options, output))
    except CannotMigrateError as error:
        message = str(error)
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    except KeyboardInterrupt:
        print("migrate: interrupted", file=sys.stderr)
        return 130
    print(f"migrate: {message}", file=sys.stderr)
    output.data["error"] = message
    return output.finish(CANNOT)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the tests like Ctrl-C
    sys.exit(main())
