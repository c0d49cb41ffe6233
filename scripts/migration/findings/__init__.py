"""Finds where a test suite does by hand what the modules do: waits, brokers, clients, imports.

Needs the standard library only, and runs nothing of what it reads::

    for finding in scan(Path("~/thermostat").expanduser()):
        print(finding.path, finding.line, finding.what, finding.replacement)

What makes a wait one *for the service*, and not for a clock or a thread pool, is what the test
looks at afterwards. So names are followed: a name is live if its value comes from an MQTT client, a
broker, a class of the repository that uses MQTT, or a fixture or helper that makes one of them, or
if an MQTT callback writes to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .addresses import check_client_ids, check_ports
from .delays import check_delays
from .endings import check_endings
from .finding import Finding, Plan, Rewrite
from .imports import check_imports
from .leftovers import find_leftovers
from .makers import check_makers
from .sources import OUR_MODULES, read_source
from .starts import find_starts, returned_instead
from .suite import Suite
from .unused import left_unused
from .waits import check_waits, find_waits

__all__ = [
    "NOWHERE",
    "OUR_MODULES",
    "Finding",
    "Plan",
    "Rewrite",
    "commented_leftovers",
    "plans",
    "read_source",
    "scan",
]

NOWHERE = Path()
"""No folder in particular: test files are known by their names, and by those of their folders."""

_CHECKS_OF_ALL = (check_waits, check_makers, check_delays)
_CHECKS = (check_ports, check_client_ids, check_endings, check_imports)


def scan(repo: Path, tests: Path = NOWHERE) -> list[Finding]:
    """Return what is found in the test files and conftests of *repo*, by path and line.

    What is in the folder *tests*, relative to *repo*, belongs to them whatever it is called.
    """
    suite = Suite(repo, tests)
    found = list(suite.unreadable)
    for check_all in _CHECKS_OF_ALL:
        found += check_all(suite)
    for module in suite.modules:
        for check in _CHECKS:
            found += check(suite, module)
    return _in_order(found)


def commented_leftovers(repo: Path, tests: Path = NOWHERE) -> list[Finding]:
    """Return the imports, fixtures and sleeps that are still there, but commented out."""
    suite = Suite(repo, tests)
    return _in_order(finding for module in suite.modules for finding in find_leftovers(module))


def plans(repo: Path, tests: Path) -> dict[Path, Plan]:
    """Return what can be replaced for certain, by the files that it is in."""
    suite = Suite(repo, tests)
    planned = {}
    for module in suite.modules:
        starts = [start for start in find_starts(suite, module) if start.rewrites]
        rewrites = [
            *(wait.rewrite for wait in find_waits(suite, module) if wait.rewrite),
            *(rewrite for start in starts for rewrite in start.rewrites),
        ]
        if rewrites:
            rewrites += left_unused(module, rewrites)
            returns = dict(returned_instead([start.function for start in starts]))
            planned[module.path] = Plan(rewrites, suite.names_used_elsewhere(module), returns)
    return planned


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(set(findings), key=lambda f: (f.path, f.line, f.kind, f.what))
