"""Finds out where slow fixtures have the class of their service from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from .suite import Suite


def import_of_class(suite: Suite, fixture: str, name: str) -> str | None:
    """Return the import by which the slow fixtures get the class *name*, if nothing else tells it.

    A test module that imports the class means that one. Else it is looked for in what is imported
    by then: not enough where a fixture imports it in its body, or others by another module name.
    """
    at_top = {m: set(_sources(m.tree.body, name)) for m in suite.modules}
    if any(at_top[module] for module in suite.modules if module.path.name != "conftest.py"):
        return None
    in_bodies: set[str] = set()
    beside: set[str] = set()
    for module in suite.modules:
        for function in module.functions:
            if function.fixture_scope and function.fixture_name == fixture:
                in_bodies.update(_sources(function.own_nodes, name))
                beside |= at_top[module]
    found = in_bodies or beside
    if len(found) != 1 or not (in_bodies or _has_several_names(suite, name)):
        return None
    return f"from {found.pop()} import {name}"


def _has_several_names(suite: Suite, name: str) -> bool:
    everything = (source for m in suite.modules for source in _sources(ast.walk(m.tree), name))
    return len(set(everything)) > 1


def _sources(nodes: Iterable[ast.AST], name: str) -> Iterator[str]:
    """Yield the modules that a class is imported from by its own name."""
    for node in nodes:
        is_absolute = isinstance(node, ast.ImportFrom) and not node.level
        names = [alias for alias in getattr(node, "names", ()) if is_absolute]
        if any(alias.name == name and not alias.asname for alias in names):
            yield getattr(node, "module", "")
