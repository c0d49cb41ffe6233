#!/usr/bin/env python3
"""Walk the migration checklist for a repository, and take everything back if need be.

    scripts/migrate.py status ~/thermostat      the checklist, and the next step
    scripts/migrate.py apply ~/thermostat       copy the modules, wire them, run one test
    scripts/migrate.py scan ~/thermostat        where the tests do by hand what the modules do
    scripts/migrate.py fix ~/thermostat         rewrite what is certain
    scripts/migrate.py verify ~/thermostat      run the suite as it was and as it is, and compare
    scripts/migrate.py update ~/thermostat      replace the modules by those of this version
    scripts/migrate.py rollback ~/thermostat    put every file back as it was, byte for byte

The exit status is 0 if it is done, 1 if something is left to do, 2 if it cannot be done. What is
needed to take it back is kept in the repository, in .mqtt-migration/, which git does not show.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from migration.checklist import checklist, waits_in_tests
from migration.commands import CANNOT, DONE, LEFT_TO_DO
from migration.copies import check_renames
from migration.findings import commented_leftovers, scan
from migration.findings.suite import Suite
from migration.output import Output, indented
from migration.repository import PATIENCE, Repository, encode_like, open_repository
from migration.service.proposals import proposals
from migration.state import Change, State
from shared.commands import CannotRunError, seconds, split_off_pytest_args
from shared.environment import require
from shared.formatting import counted

NEEDED = ("rich", "libcst", "ruff")
"""The packages that this takes."""

# --- The commands -------------------------------------------------------------------------------


def show_status(
    repository: Repository, state: State, _options: argparse.Namespace, output: Output
) -> int:
    """Tick the checklist, and say what comes next."""
    items = checklist(repository, state)
    output.data["items"] = [asdict(item) for item in items]
    for item in items:
        evidence = indented(item.evidence, 6)
        output.say(f"- [{'x' if item.done else ' '}] {item.title}", f"      {evidence}")
    to_do = next((item for item in items if not item.done), None)
    output.data["next_step"] = to_do and to_do.next_step
    output.say(indented(f"Next: {to_do.next_step}", 6) if to_do else "All done.")
    return LEFT_TO_DO if to_do else DONE


def show_findings(
    repository: Repository, _state: State, _options: argparse.Namespace, output: Output
) -> int:
    """Print what the tests do by hand."""
    where = repository.root, repository.tests
    findings, leftovers = scan(*where), commented_leftovers(*where)
    output.show_findings("findings", findings)
    output.show_findings("leftovers", leftovers)
    certain = sum(finding.certain for finding in findings)
    services = [p.command(repository.root) for p in proposals(Suite(*where))]
    output.data["services"] = services
    output.say(*(f"a service, and its fixture: {command}" for command in services))
    output.say(
        f"{counted(len(findings), 'finding')}, of which fix rewrites {certain}; "
        f"{counted(len(leftovers), 'piece')} of old commented code."
    )
    return LEFT_TO_DO if findings or leftovers else DONE


def fix(repository: Repository, state: State, options: argparse.Namespace, output: Output) -> int:
    """Rewrite what is certain, and show the rest."""
    from migration.fixes import fixed_sources  # on use: libcst takes a moment to load

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
    left = waits_in_tests(findings)
    output.say(
        f"{counted(len(changes), 'file')} rewritten; {counted(len(findings), 'finding')} left to "
        f"you, {len(left)} of them in tests that wait for background work."
    )
    return LEFT_TO_DO if left else DONE


# --- The command line ---------------------------------------------------------------------------

Command = Callable[[Repository, State, argparse.Namespace, Output], int]


def _on_use(module: str, name: str, summary: str) -> Command:
    """Return a command that is imported when it is run: what it needs takes a moment to load."""

    def command(
        repository: Repository, state: State, options: argparse.Namespace, output: Output
    ) -> int:
        found = getattr(import_module(f"migration.commands.{module}"), name)
        status: int = found(repository, state, options, output)
        return status

    command.__doc__ = summary
    return command


COMMANDS: dict[str, Command] = {
    "status": show_status,
    "apply": _on_use("apply", "apply", "Wire the modules into the repository, and see it take."),
    "scan": show_findings,
    "fix": fix,
    "verify": _on_use(
        "verify", "run_verification", "Compare the suite as it was with the suite as it is."
    ),
    "update": _on_use("update", "update", "Replace the modules by those of this version."),
    "rollback": _on_use("rollback", "rollback", "Put every file back as it was; lose no edits."),
}


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is pytest's."""
    own, pytest_args = split_off_pytest_args(words)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run-by", default=sys.executable, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").rstrip(".")
        own_parser = commands.add_parser(name, help=summary, description=f"{summary}.")
        _add_options(name, own_parser)
    options = parser.parse_args(own)
    if pytest_args and options.command != "verify":
        parser.error("what follows -- is for pytest, which only verify passes on")
    options.pytest_args = pytest_args
    return options


def _add_options(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", type=Path, help="the folder of the repository")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--tests", type=Path, help="its folder of tests (default: tests or test)")
    if name in ("apply", "fix", "rollback", "update"):
        parser.add_argument("--dry-run", action="store_true", help="print a diff, change nothing")
    if name in ("rollback", "update"):
        parser.add_argument(
            "--keep-edits", action="store_true", help="set later edits aside as a patch, and go on"
        )
    if name in ("apply", "verify"):
        parser.add_argument(
            "--python", metavar="EXE", help="what runs its tests (default: its .venv, or this)"
        )
        parser.add_argument(
            "--timeout",
            type=seconds,
            metavar="SECONDS",
            default=PATIENCE,
            help="what a test, or the import of a file, may take (default: %(default)g)",
        )
    if name == "verify":
        parser.usage = "%(prog)s [options] REPO [-- PYTEST_ARGS ...]"
    if name == "apply":
        _add_options_of_apply(parser)


def _add_options_of_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--service",
        metavar="MODULE:CLASS",
        help="the class of a service, or a function that builds one: doorbell.core:Doorbell",
    )
    parser.add_argument("--fixture", metavar="NAME", help="the slow fixture of that service")
    parser.add_argument(
        "--option",
        type=int,
        choices=(1, 2, 3),
        default=1,
        help="1: the fast camera_detector (default), 2: the fix of the executors alone, "
        "3: every MQTT client of the process, for suites without a service fixture",
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OURS=NEW",
        help="copy a module of ours under another name",
    )


def _renames(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if any(not separator for _, separator, _ in pairs):
        raise CannotRunError("--rename takes a name of ours, and the new one: OURS=NEW")
    renames = {old: new for old, _, new in pairs}
    check_renames(renames)
    return renames


def run(options: argparse.Namespace, output: Output) -> int:
    """Do what was asked for."""
    root: Path = options.repo
    state = State(root.resolve())
    renames = {**state.renames, **_renames(getattr(options, "rename", ()))}
    repository = open_repository(
        root,
        options.tests or state.tests,
        getattr(options, "python", None),
        renames,
        options.run_by,
    )
    return COMMANDS[options.command](repository, state, options, output)


def main(words: Sequence[str] | None = None) -> int:
    """Do it, and turn what can go wrong into one line."""
    options = parse(sys.argv[1:] if words is None else words)
    output = Output(options.json)
    try:
        return output.finish(run(options, output))
    except CannotRunError as error:
        message = str(error)
    except BrokenPipeError:  # its reader has seen enough
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
    require(NEEDED, "--run-by", sys.executable)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the tests like Ctrl-C
    sys.exit(main())
