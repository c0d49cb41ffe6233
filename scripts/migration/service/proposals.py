"""The services and fixtures that a repository seems to have, with the command to type."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..findings.parsing import SET_UP, Function, Module
from ..findings.suite import Suite
from .classes import service_class
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
        return f"scripts/migrate.py apply {root} --service {self.service} --fixture {self.fixture}"


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
        if construction is not None:
            yield from _proposed(suite, function, construction, function.fixture_name)
    for module in suite.modules:
        for function in module.functions:
            if function.name in SET_UP:
                yield from _of_set_up(suite, function)


def _of_set_up(suite: Suite, function: Function) -> Iterator[Proposal]:
    """Yield the services that a TestCase builds for each of its tests."""
    for node in function.own_nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target = node.targets[0]
            if isinstance(target, ast.Attribute):
                yield from _proposed(suite, function, node.value, target.attr)


def _proposed(
    suite: Suite, function: Function, construction: ast.Call, fixture: str
) -> Iterator[Proposal]:
    dotted = function.module.resolve(construction.func)
    place, _, name = dotted.rpartition(".")
    if place and _builds_a_service(suite, function.module, dotted):
        line = getattr(function.node, "lineno", 1)
        yield Proposal(f"{place}:{name}", fixture, function.module.path, line)


def _builds_a_service(suite: Suite, module: Module, dotted: str) -> bool:
    """Return whether it is the class of a service, or a function that returns one."""
    if suite.is_service(module, dotted):
        return True
    found = suite.defined(module, dotted)
    if found is None or found[0] in suite.modules or isinstance(found[1], ast.ClassDef):
        return False
    return bool(service_class(suite, dotted).methods) and found[0].knows_mqtt
