"""The command line of ``soak``."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from shared.commands import CannotRunError, exit_status_of, file_to_write, write
from shared.formatting import duration
from shared.machine import circumstances, in_words
from shared.modules import BrokerError, find_mosquitto, mosquitto_version
from shared.tables import figures_table, show
from speedup.probe import installed_versions

from .figures import FailedError, Figure, Result, exactly
from .leftovers import end_what_stays
from .parts import PARTS, Part
from .workspace import MARK, Workspace

DESCRIPTION = "Do for minutes what wears a test broker out, and show what it cost and what stayed."


def measure(name: str, part: Part, workspace: Workspace) -> Result:
    """Do one part; what goes wrong in it is a figure as well."""
    result = Result(name)
    began = time.perf_counter()
    workspace.progress.show(name)
    try:
        result.figures += part(workspace)
    except (
        BrokerError,
        FailedError,
        OSError,
        pytest.fail.Exception,
        subprocess.SubprocessError,
    ) as error:
        result.figures.append(Figure("failed", 1, str(error), "no error", is_met=False))
    finally:
        workspace.progress.clear()
    result.seconds = time.perf_counter() - began
    return result


def what_is_left(workspace: Workspace) -> Result:
    """Look for what all the parts together have left behind, and end it."""
    result = Result("in the end")
    stayed = end_what_stays(f"{MARK}={workspace.token}")
    result.figures.append(exactly("processes left", len(stayed), 0))
    result.figures.append(exactly("folders left", workspace.folders_left(), 0))
    return result


def table(results: Sequence[Result]) -> Table:
    """Return the figures by the parts that they are of."""
    figures = figures_table("", "measured", "goal")
    for result in results:
        figures.add_row(f"{result.part} ({duration(result.seconds)})")
        for figure in result.figures:
            verdict = "" if figure.is_met else "MISSED: "
            figures.add_row(f"  {figure.what}", figure.written, verdict + figure.goal)
    return figures


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument(
        "parts", metavar="PART", nargs="*", help=f"{', '.join(PARTS)} (default: all of them)"
    )
    parser.add_argument("--quick", action="store_true", help="do a tenth of everything")
    parser.add_argument("--seed", type=int, help="of what is random (default: another each time)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write all figures here")
    options = parser.parse_args(words)
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.seed is None:
        options.seed = random.randrange(1_000_000)
    return options


def conditions() -> dict[str, Any]:
    """Return what the figures are taken on.

    Raises:
        CannotRunError, BrokerError: it is not possible here.
    """
    if not Path("/proc/self/environ").exists():
        raise CannotRunError("there is no /proc to see processes and memory in: run it on Linux")
    mosquitto = mosquitto_version(find_mosquitto()) or "unknown"
    versions = {**installed_versions(), "mosquitto": mosquitto}
    return {**circumstances(versions), "load_at_start": os.getloadavg()[0]}


def do_parts(options: argparse.Namespace) -> list[Result]:
    """Do what was asked for, and clean up whatever happens."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mqtt-soak-") as folder:
        workspace = Workspace(Path(folder), is_quick=options.quick, seed=options.seed)
        workspace.set_environment()
        try:
            results.extend(measure(name, PARTS[name], workspace) for name in options.parts or PARTS)
        finally:
            results.append(what_is_left(workspace))
    return results


def report(options: argparse.Namespace) -> int:
    """Do it, show and write what came of it, and return the exit status."""
    description = conditions()
    results = do_parts(options)
    missed = [line for result in results for line in result.missed()]
    show(table(results))
    print(f"\n{in_words(description)}; load {description['load_at_start']:.1f} at the start")
    for line in missed:
        print(f"Missed: {line}")
    description.update(
        seed=options.seed,
        quick=options.quick,
        missed=missed,
        parts={result.part: asdict(result) for result in results},
    )
    write(options.json, lambda: json.dumps(description, indent=2) + "\n")
    return 1 if missed else 0


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    options = parse(sys.argv[1:] if words is None else words)
    return exit_status_of("soak", lambda: report(options), BrokerError)
