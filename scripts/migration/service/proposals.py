"""The services and fixtures that a repository seems to have, with the command to type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..findings.suite import Suite
from .recipe import read


@dataclass(frozen=True)
class Proposal:
    """A service, and the fixture that gives it to the tests."""

    service: str
    fixture: str
    path: Path
    line: int

    def command(self, root: Path) -> str:
        """Return what to type."""
        return f"apply {root} --service {self.service} --fixture {self.fixture}"


def proposals(suite: Suite) -> list[Proposal]:
    """Return what is found, by place; of one service and fixture the first."""
    found: dict[tuple[str, str], Proposal] = {}
    for proposal in _found(suite):
        found.setdefault((proposal.service, proposal.fixture), proposal)
    return sorted(found.values(), key=lambda p: (p.path, p.line))


def _found(suite: Suite) -> Iterator[Proposal]:
    for function in suite.fixtures():
        if suite.is_overridden(function.fixture_name) or function.fixture_name == "camera_detector":
            continue
        construction = read(suite, function).construction
        if construction is None:
            continue
        dotted = function.module.resolve(construction.func)
        place, _, name = dotted.rpartition(".")
        if place and suite.is_service(function.module, dotted):
            line = getattr(function.node, "lineno", 1)
            yield Proposal(f"{place}:{name}", function.fixture_name, function.module.path, line)
