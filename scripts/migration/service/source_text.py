"""Pieces of source: where a thing is, and how it is written."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

from ..findings.parsing import Function, Module, names_in, unparsed


@dataclass
class Text:
    """The imports that the lines for a service need, and what is left to do by hand."""

    imports: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def place_of(function: Function) -> str:
    """Return the file and line of a function."""
    return f"{function.module.path}:{getattr(function.node, 'lineno', 1)}"


def body_of(function: Function) -> str:
    """Return what a function does, written plainly."""
    return "\n".join(map(unparsed, function.node.body))


def source_of(module: Module, statement: ast.stmt) -> str:
    """Return a statement as it is written, or plainly where it was made up here."""
    written = ast.get_source_segment("\n".join(module.lines), statement) or ""
    lines = written.split("\n")
    text = "\n".join([lines[0], *(line[statement.col_offset :] for line in lines[1:])])
    try:
        is_same = ast.unparse(ast.parse(text)) == ast.unparse(statement)
    except SyntaxError:
        is_same = False
    return text if is_same else ast.unparse(statement)


def import_line(module: Module, name: str, tests: Path) -> str | None:
    """Return the import by which a module has a name, as it is written in the folder of tests."""
    for node in module.tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    return f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(node, ast.ImportFrom):
            place = _place_seen_from(tests, module, node)
            for alias in node.names if place else ():
                if (alias.asname or alias.name) == name:
                    renamed = f" as {alias.asname}" if alias.asname else ""
                    return f"from {place} import {alias.name}{renamed}"
    return None


def _place_seen_from(tests: Path, module: Module, node: ast.ImportFrom) -> str | None:
    """Return where an import is from; None where that cannot be said in the folder of tests."""
    if not node.level:
        return node.module
    folder = module.path.parents[node.level - 1]
    if tests != folder and tests not in folder.parents:
        return None
    parts = [*folder.relative_to(tests).parts, *filter(None, [node.module])]
    return "." + ".".join(parts)


def is_defined_in(module: Module, name: str) -> bool:
    """Return whether a module defines a name, or assigns to it."""
    return any(
        getattr(node, "name", None) == name or name in names_in(node, ast.Store)
        for node in module.tree.body
    )
