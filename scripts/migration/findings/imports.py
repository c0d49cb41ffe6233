"""Finds the imports of our modules that may fail unnoticed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .finding import Finding
from .parsing import Module, called_name, strings_in, unparsed, walk_own
from .sources import OUR_MODULES
from .suite import Suite


def check_imports(_suite: Suite, module: Module) -> Iterator[Finding]:
    """Find the imports of our modules in a `try`, a `suppress` or an `importorskip`."""
    for node in ast.walk(module.tree):
        swallowed: list[tuple[str, ast.AST]] = []
        if isinstance(node, ast.Try):
            if any(_swallows(handler) for handler in node.handlers):
                swallowed = [found for s in node.body for found in _imports_of_ours(s)]
        elif isinstance(node, ast.With):
            if any(_suppresses_import_errors(item.context_expr) for item in node.items):
                swallowed = [found for s in node.body for found in _imports_of_ours(s)]
        elif isinstance(node, ast.Call) and called_name(node) == "importorskip":
            named = strings_in(node)[:1]
            swallowed = [(name, node) for name in named if name.rpartition(".")[2] in OUR_MODULES]
        for name, place in swallowed:
            yield Finding(
                module.path,
                getattr(place, "lineno", 1),
                "swallowed-import",
                f"the import of {name} may fail, and the slow fixtures then run unnoticed",
                "the bare import; with a tests/__init__.py it begins with a dot, as in "
                f"`from .{name} import ...`",
                False,
            )


def _swallows(handler: ast.ExceptHandler) -> bool:
    caught = unparsed(handler.type) if handler.type else "Exception"
    if not re.search(r"\b(ImportError|ModuleNotFoundError|Exception|BaseException)\b", caught):
        return False
    inner = [node for statement in handler.body for node in ast.walk(statement)]
    # The other way to import it is no way to do without it.
    tries_again = any(list(_imports_of_ours(node)) for node in inner)
    return not tries_again and not any(isinstance(node, ast.Raise) for node in inner)


def _suppresses_import_errors(node: ast.expr) -> bool:
    is_suppress = isinstance(node, ast.Call) and called_name(node) == "suppress"
    return is_suppress and bool(re.search(r"ImportError|ModuleNotFound|Exception", unparsed(node)))


def _imports_of_ours(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for inner in walk_own(node):
        names: list[str] = []
        if isinstance(inner, ast.ImportFrom):
            names = [inner.module or "", *(alias.name for alias in inner.names)]
        elif isinstance(inner, ast.Import):
            names = [alias.name for alias in inner.names]
        for name in names:
            last = name.rpartition(".")[2]
            if last in OUR_MODULES:
                yield last, inner
