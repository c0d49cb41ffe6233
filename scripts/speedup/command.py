"""The command line of ``verify_speedup``."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.commands import (
    CannotRunError,
    exit_status_of,
    file_to_write,
    seconds,
    split_off_pytest_args,
    write,
)
from shared.paths import ASYNCIO_SUITE, ROOT, SLOW_SUITE
from shared.progress import Progress
from shared.tables import show

from .comparison import Comparison
from .report import describe, notes, table
from .run import AFTER, BEFORE
from .running import Suite, run_sample, run_tests

DESCRIPTION = "Time the same tests with the original and with the fast fixture, side by side."


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is pytest's."""
    own, pytest_args = split_off_pytest_args(words)
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        usage="%(prog)s [options] [TESTS ...] [-- PYTEST_ARGS ...]",
    )
    parser.add_argument("tests", metavar="TESTS", nargs="*", help="what pytest is to run")
    parser.add_argument("--repo", type=Path, default=ROOT, help="the repository (default: this)")
    parser.add_argument(
        "--asyncio", action="store_true", help="run the suite of this repository's asyncio service"
    )
    parser.add_argument("--full", action="store_true", help="run all tests on the slow side too")
    parser.add_argument(
        "--budget",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="what a sample of the slow side may take (default: %(default)g)",
    )
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write all figures here")
    parser.add_argument(
        "--picture", type=file_to_write, metavar="FILE.svg", help="draw the tests here"
    )
    parser.add_argument(
        "--html",
        type=file_to_write,
        metavar="FILE.html",
        help="look closer, and write a page about it here",
    )
    parser.add_argument(
        "--python", default=sys.executable, metavar="EXE", help="what runs pytest (default: this)"
    )
    options = parser.parse_intermixed_args(own)
    files = [file.resolve() for file in (options.json, options.picture, options.html) if file]
    if len(set(files)) < len(files):
        parser.error("--json, --picture and --html have to name different files")
    options.pytest_args = pytest_args
    return options


def suite_of(options: argparse.Namespace) -> Suite:
    """Return what to run.

    Raises:
        CannotRunError: there is no such repository, no such Python, or another suite was named.
    """
    repo: Path = options.repo.resolve()
    if not repo.is_dir():
        raise CannotRunError(f"there is no folder {options.repo}; name a repository with --repo")
    python = shutil.which(options.python)
    if python is None:
        raise CannotRunError(f"there is no Python {options.python}; name one with --python")
    if options.asyncio and (options.tests or repo != ROOT):
        raise CannotRunError("--asyncio is a suite of this repository: no TESTS, and no --repo")
    own_suite = ASYNCIO_SUITE if options.asyncio else SLOW_SUITE
    tests = options.tests or ([own_suite] if repo == ROOT else [])
    # Absolute, since it is started elsewhere; not resolved, or it would leave its environment.
    path = str(Path(python).absolute())
    return Suite(repo, tests, options.pytest_args, path, look=options.html is not None)


def load(name: str) -> Callable[..., str]:
    """Return what draws a "picture" or a "page", whose libraries take a second to load.

    Raises:
        CannotRunError: one of them is not there.
    """
    try:
        module = importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        option = {"picture": "--picture", "page": "--html"}[name]
        raise CannotRunError(
            f"{option} needs {error.name}, which this Python lacks: run `make setup`, and start "
            "me with .venv/bin/python"
        ) from None
    draw: Callable[..., str] = getattr(module, name)
    return draw


def compare(options: argparse.Namespace) -> int:
    """Run both sides, show and write what came of it, and return the exit status."""
    suite = suite_of(options)
    picture = load("picture") if options.picture else None
    page = load("page") if options.html else None
    progress = Progress()
    try:
        if options.full:
            before = run_tests(suite, BEFORE, progress)
        else:
            before = run_sample(suite, options.budget, progress)
        comparison = Comparison(before, run_tests(suite, AFTER, progress))
    finally:
        progress.clear()
    description = describe(comparison, suite.repo)
    show(table(comparison))
    print("", *notes(comparison, description), sep="\n")
    write(options.json, lambda: json.dumps(description, indent=2) + "\n")
    if picture is not None:
        write(options.picture, lambda: picture(comparison))
    if page is not None:
        write(options.html, lambda: page(comparison, description, suite.repo.name))
    return 1 if comparison.problems() else 0


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    options = parse(sys.argv[1:] if words is None else words)
    return exit_status_of("verify_speedup", lambda: compare(options))
