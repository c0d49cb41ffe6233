"""Where an import goes: in its section, in order, with the blank lines that linters want."""

from __future__ import annotations

import ast
import io
import re
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Union

from .house_style import Style

_ImportNode = Union[ast.Import, ast.ImportFrom]
_FUTURE, _STANDARD, _THIRD_PARTY, _FIRST_PARTY, _RELATIVE = range(5)


def with_import(text: str, imported: str, style: Style) -> str:
    """Return *text* with the import line *imported*; unchanged if it has that already."""
    tree = ast.parse(text)
    if imported in map(ast.unparse, tree.body):
        return text
    lines = io.StringIO(text).readlines()  # with their line ends
    newline = "\r\n" if "\r\n" in text else "\n"
    head = _leading_imports(tree)
    if head:
        place, new = _among(head, lines, imported, style)
    else:
        place, new = _at_the_top(tree, lines, imported)
    if place and not lines[place - 1].endswith("\n"):
        lines[place - 1] += newline
    lines[place:place] = [line + newline for line in new]
    return "".join(lines)


def _leading_imports(tree: ast.Module) -> list[_ImportNode]:
    """Return the imports that a file begins with."""
    found: list[_ImportNode] = []
    for number, node in enumerate(tree.body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif number or not _is_docstring(node):
            break
    return found


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _among(
    head: Sequence[_ImportNode], lines: Sequence[str], imported: str, style: Style
) -> tuple[int, list[str]]:
    """Return the number of lines before the place of an import, and the lines that go there."""
    [new] = ast.parse(imported).body
    assert isinstance(new, ast.ImportFrom)
    section = _section(new, style)
    same = [node for node in head if _section(node, style) == section]
    if same:
        later = [node for node in same if _order(node, style) > _order(new, style)]
        return (_above(later[0], lines) if later else same[-1].end_lineno or 0), [imported]
    before = [node for node in head if _section(node, style) < section]
    if before:
        return before[-1].end_lineno or 0, ["", imported]
    return _above(head[0], lines), [imported, ""]


def _above(node: _ImportNode, lines: Sequence[str]) -> int:
    """Return the number of lines before an import, and before the comments that belong to it."""
    place = node.lineno - 1
    while place > 1 and lines[place - 1].startswith("#"):
        place -= 1
    return place


def _section(node: _ImportNode, style: Style) -> int:
    if isinstance(node, ast.ImportFrom) and node.level:
        return _RELATIVE
    root = _module(node).partition(".")[0]
    if root == "__future__":
        return _FUTURE
    if root in _standard_library():
        return _STANDARD
    return _FIRST_PARTY if style.is_first_party(root) else _THIRD_PARTY


def _module(node: _ImportNode) -> str:
    return (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name


def _order(node: _ImportNode, style: Style) -> tuple[int, int, str]:
    """Return what isort and ruff sort the imports of a section by."""
    is_from = isinstance(node, ast.ImportFrom) and not style.sorts_within_sections
    levels = node.level if isinstance(node, ast.ImportFrom) else 0
    return int(is_from), -levels, _module(node).lower()


def _standard_library() -> frozenset[str]:
    if sys.version_info >= (3, 10):
        return sys.stdlib_module_names
    files = Path(sysconfig.get_path("stdlib")).iterdir()
    return frozenset(sys.builtin_module_names) | {path.stem for path in files}


def _at_the_top(tree: ast.Module, lines: Sequence[str], imported: str) -> tuple[int, list[str]]:
    """Return the place of an import in a file that begins with none."""
    if tree.body and _is_docstring(tree.body[0]):
        place = tree.body[0].end_lineno or 0
        before = [""]
    else:  # the first lines may say in what encoding the file is, or who owns it
        place = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
        before = [""] if place else []
    gap = next((n for n, line in enumerate(lines[place:]) if line.strip()), 0)
    is_definition = re.match(r"@|def |class |async def ", "".join(lines[place + gap :][:1]))
    wanted = (2 if is_definition else 1) if lines[place:] else 0
    if gap and before:  # the gap that is there comes before the import
        return place + gap, [imported, *[""] * wanted]
    return place, [*before, imported, *[""] * max(wanted - gap, 0)]
