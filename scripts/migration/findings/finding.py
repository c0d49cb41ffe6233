"""What is found in a test suite, and what is certain enough to be rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

WAIT = "wait-for-background"
"""The kind of the findings that keep a test from passing with the fast fixture."""


@dataclass(frozen=True)
class Finding:
    """A place in a test suite, what it does by hand, and what to write instead."""

    path: Path
    """Relative to the repository."""
    line: int
    kind: str
    what: str
    replacement: str
    certain: bool
    """Whether `fix` rewrites it."""
    tests: tuple[str, ...] = ()
    """The tests that wait there, if it is a wait."""


class Plan(NamedTuple):
    """What can be replaced for certain in a file."""

    rewrites: list[Rewrite]
    names_used_elsewhere: set[str]
    """Names that other test files get from it; an asterisk stands for all."""
    returns: dict[int, str]
    """What functions are said to return then, by their lines."""


class Rewrite(NamedTuple):
    """What can be replaced for certain: the statement that begins at *line*."""

    line: int
    statements: tuple[str, ...]
    """What takes its place, perhaps nothing."""
    imported: str = ""
    """The import that these statements need."""
