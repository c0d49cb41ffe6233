"""Where an import goes: in its section, in order, with the blank lines that linters want."""

from __future__ import annotations

import ast
import io
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

from .house_style import Style

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

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
    joined = next((n for n in head if _may_be_joined(n, imported, lines)), None)
    if joined is not None:
        first, last = joined.lineno - 1, joined.end_lineno or 0
        lines[first:last] = [
            line + newline for line in _joined(joined, lines[first:last], imported, style)
        ]
        return "".join(lines)
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


def _may_be_joined(
    node: _ImportNode, imported: str, lines: Sequence[str]
) -> TypeGuard[ast.ImportFrom]:
    """Return whether an import is from the same module, and on one line, or one for each name."""
    [new] = ast.parse(imported).body
    if not isinstance(new, ast.ImportFrom) or not isinstance(node, ast.ImportFrom):
        return False
    if (node.module, node.level) != (new.module, new.level) or node.names[0].name == "*":
        return False
    first, *inside = lines[node.lineno - 1 : node.end_lineno]
    starts = [f"{ast.unparse(alias)}," for alias in node.names]
    if not inside:
        return ";" not in first
    return len(inside) == len(starts) + 1 and all(
        line.strip().startswith(start) for line, start in zip(inside, starts)
    )


def _joined(
    node: ast.ImportFrom, lines: Sequence[str], imported: str, style: Style
) -> Iterator[str]:
    """Yield the lines of an import with the names of another, in order; its comments stay."""
    [new] = ast.parse(imported).body
    assert isinstance(new, ast.ImportFrom)
    head, sign, said = lines[0].rstrip().partition("#")
    comment = f"  {sign}{said}" if sign else ""
    names = {ast.unparse(alias): f"{ast.unparse(alias)}," for alias in (*node.names, *new.names)}
    names.update(zip(map(ast.unparse, node.names), (line.strip() for line in lines[1:-1])))
    inside = [names[name] for name in sorted(names, key=_order_of_name)]
    start = head.partition(" import ")[0]
    together = f"{start} import {' '.join(inside).rstrip(',')}{comment}"
    if len(lines) == 1 and len(together) <= style.width:
        yield together
        return
    yield f"{start} import ({comment}"
    yield from (f"    {line}" for line in inside)
    yield ")" if len(lines) == 1 else lines[-1].rstrip()


def _order_of_name(name: str) -> tuple[int, str]:
    """Return what isort and ruff sort names by: constants, classes, the rest."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name.lower()


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
