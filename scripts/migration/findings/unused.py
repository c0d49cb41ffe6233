"""Finds the local names that nothing needs any more once a wait or a start is replaced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from .finding import Rewrite
from .parsing import Function, Module, bindings, blocks_in, calls_in

_WITHOUT_EFFECT = re.compile(
    r"time\.(time|monotonic|perf_counter)|(shutil\.)?which|int|float|str|len|min|max"
)


def left_unused(module: Module, rewrites: Sequence[Rewrite]) -> Iterator[Rewrite]:
    """Yield the removals of assignments that only what is rewritten has a use for."""
    for function in module.functions[1:]:  # a module's own names may be asked for from elsewhere
        yield from _left_unused_in(function, rewrites)


def _left_unused_in(function: Function, rewrites: Sequence[Rewrite]) -> Iterator[Rewrite]:
    written = " ".join(text for rewrite in rewrites for text in rewrite.statements)
    lines = {rewrite.line for rewrite in rewrites}
    blocks = list(_blocks(function.node.body))
    gone = [s for block in blocks for s in block if s.lineno in lines]
    removed: list[ast.stmt] = []
    found: list[ast.stmt] = []
    while len(removed) < len(gone) + len(found):  # what is removed may be the only use of others
        removed = [*gone, *found]
        found += [
            assignment
            for name in _names_read(removed)
            if not re.search(rf"\b{re.escape(name)}\b", written)
            for assignment in _assignments(function, name, blocks, removed)
        ]
    yield from (Rewrite(statement.lineno, ()) for statement in found)


def _blocks(block: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    yield block
    for statement in block:
        for inner in blocks_in(statement):
            yield from _blocks(inner)


def _names_read(statements: Sequence[ast.stmt]) -> list[str]:
    nodes = (node for statement in statements for node in ast.walk(statement))
    read = (n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    return list(dict.fromkeys(read))


def _assignments(
    function: Function, name: str, blocks: Sequence[list[ast.stmt]], removed: Sequence[ast.stmt]
) -> list[ast.stmt]:
    """Return what binds a name that nothing but *removed* reads; nothing, if it does more."""
    inside = {id(node) for statement in removed for node in ast.walk(statement)}
    assignments = [
        statement
        for block in blocks
        for statement in block
        if len(block) > 1 and _only_binds(function.module, statement, name)
    ]
    known = inside.union(id(node) for statement in assignments for node in ast.walk(statement))
    for node in ast.walk(function.node):
        mentioned = {getattr(node, "id", ""), *_texts(getattr(node, "names", ()))}
        if name in mentioned and id(node) not in known:
            return []
    return [statement for statement in assignments if statement not in removed]


def _texts(names: Sequence[object]) -> Iterator[str]:
    """Yield what `global` and `nonlocal` name."""
    return (name for name in names if isinstance(name, str))


def _only_binds(module: Module, statement: ast.stmt, name: str) -> bool:
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not module.stands_alone(statement):
        return False
    pairs = list(bindings(statement))
    return (
        len(pairs) == 1
        and isinstance(pairs[0][0], ast.Name)
        and pairs[0][0].id == name
        and all(_WITHOUT_EFFECT.fullmatch(module.resolve(c.func)) for c in calls_in(statement))
    )
