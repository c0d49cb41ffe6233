"""Removes the imports that a rewriting has left without a use, and no others.

Needs libcst::

    text = without_unused_imports(before, after, names_used_elsewhere={"helper"})
"""

from __future__ import annotations

import io
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Union

import libcst as cst
import libcst.matchers as m
from libcst.metadata import (
    CodeRange,
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    ScopeProvider,
)

_NO_COMMA = cst.MaybeSentinel.DEFAULT
_Statement = Union[cst.Import, cst.ImportFrom]
_TAKES_NAMES = {"setattr", "delattr", "getattr", "hasattr", "object", "multiple", "setitem"}
_KEPT_ON_PURPOSE = re.compile(r"#.*(noqa|unused-import|isort)")
_FILE_KEPT_ON_PURPOSE = re.compile(r"^\s*# *(ruff|flake8): *noqa", re.M)


def without_unused_imports(before: str, after: str, names_used_elsewhere: Container[str]) -> str:
    """Return *after* without the imports that were of use in *before* and are not any more.

    What is said to stay, by a ``noqa`` or by ``__all__``, stays, and so does what is imported in a
    branch, or what other files get from this one: *names_used_elsewhere*, an asterisk for all.
    Comments stay too.
    """
    if _FILE_KEPT_ON_PURPOSE.search(after) or "*" in names_used_elsewhere:
        return after
    old, new = _imports_in(before), _imports_in(after)
    if len(old) != len(new):  # the rewriting has removed some itself, so they are not in pairs
        return after
    pairs = zip(old, new)
    unused = [found for was, found in pairs if was.is_used and not found.is_used]
    lines: dict[int, list[_Import]] = {}
    for found in unused:
        if found.name not in names_used_elsewhere and not _is_meant_to_stay(found, after):
            lines.setdefault(found.place.start.line, []).append(found)
    for line in sorted(lines, reverse=True):
        after = _without(lines[line], after)
    return after


@dataclass(frozen=True)
class _Import:
    """One name of an import statement that stands in the body of a module or a function."""

    alias: cst.ImportAlias
    line: cst.SimpleStatementLine
    place: CodeRange
    is_used: bool

    @property
    def name(self) -> str:
        """The name that it binds."""
        asname = self.alias.asname
        bound = asname.name if asname else self.alias.name
        return cst.Module([]).code_for_node(bound).partition(".")[0]


def _imports_in(text: str) -> list[_Import]:
    wrapper = MetadataWrapper(cst.parse_module(text))
    finder = _Finder()
    wrapper.visit(finder)
    return finder.found


class _Finder(cst.CSTVisitor):
    """Finds the imports, in the order in which they stand."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider, ScopeProvider)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Import] = []

    def visit_Import(self, node: cst.Import) -> None:
        """Take in its names."""
        self._note(node, node.names)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        """Take in its names, if it has any."""
        if not isinstance(node.names, cst.ImportStar):
            self._note(node, node.names)

    def _note(self, statement: _Statement, aliases: Sequence[cst.ImportAlias]) -> None:
        line = self.get_metadata(ParentNodeProvider, statement)
        if not isinstance(line, cst.SimpleStatementLine) or not self._is_always_run(line):
            return
        place = self.get_metadata(PositionProvider, line)
        self.found += [_Import(alias, line, place, self._is_used(alias)) for alias in aliases]

    def _is_always_run(self, line: cst.SimpleStatementLine) -> bool:
        parent = self.get_metadata(ParentNodeProvider, line)
        if isinstance(parent, cst.IndentedBlock):
            return isinstance(self.get_metadata(ParentNodeProvider, parent), cst.FunctionDef)
        return isinstance(parent, cst.Module)

    def _is_used(self, alias: cst.ImportAlias) -> bool:
        bound = alias.asname.name if alias.asname else alias.name
        scope = self.get_metadata(ScopeProvider, alias)
        assert scope is not None
        return any(
            assignment.references
            for assignment in scope.assignments
            if isinstance(assignment, ImportAssignment) and assignment.as_name is bound
        )


def _is_meant_to_stay(found: _Import, text: str) -> bool:
    lines = _lines_of(text)[found.place.start.line - 1 : found.place.end.line]
    is_renamed_to_itself = found.alias.asname and found.alias.evaluated_name == found.name
    return bool(
        is_renamed_to_itself
        or any(map(_KEPT_ON_PURPOSE.search, lines))
        or _is_named_in_a_string(found.name, text)
    )


def _is_named_in_a_string(name: str, text: str) -> bool:
    """Say whether a string may mean it: in ``__all__``, or for `patch`, alone or in a path."""
    strings = _Strings()
    cst.parse_module(text).visit(strings)
    is_in_a_path = any(re.search(rf"(^|\.){name}(\.|$)", path) for path in strings.paths)
    return name in strings.names or is_in_a_path


class _Strings(cst.CSTVisitor):
    """Collects the strings of a file that may name something of it."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []
        """Those with a dot in them, and parts of such."""
        self.names: set[str] = set()
        """Those in ``__all__``, and what `setattr`, `patch.object` and the like are given."""

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        """Take in a path."""
        self.paths += [node.raw_value.strip()] if "." in node.raw_value else []

    def visit_FormattedStringText(self, node: cst.FormattedStringText) -> None:
        """Take in a part of a path."""
        self.paths.append(node.value.strip())

    def visit_Assign(self, node: cst.Assign) -> None:
        """Take in what ``__all__`` is."""
        if any(m.matches(target.target, m.Name("__all__")) for target in node.targets):
            self._take_names(node.value)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        """Take in what ``__all__`` gets."""
        if m.matches(node.target, m.Name("__all__")):
            self._take_names(node.value)

    def visit_Call(self, node: cst.Call) -> None:
        """Take in what is replaced by its name."""
        called = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
        if isinstance(called, cst.Name) and called.value in _TAKES_NAMES:
            for argument in node.args:
                self._take_names(argument.value)

    def _take_names(self, node: cst.CSTNode) -> None:
        found = m.findall(node, m.SimpleString())
        self.names |= {s.raw_value for s in found if isinstance(s, cst.SimpleString)}


def _without(imports: Sequence[_Import], text: str) -> str:
    """Take names out of the statements of one line, or the line out of the text."""
    unused = [found.alias for found in imports]
    line = imports[0].line
    left = list(_statements_without(line, unused))
    place = imports[0].place
    lines = _lines_of(text)
    first, last = place.start.line - 1, place.end.line
    alone = _lines_alone(imports, lines)
    if left and len(alone) == len(imports):
        lines[:] = [line for number, line in enumerate(lines) if number not in alone]
    elif left and last - first > 1 and "#" in "".join(lines[first:last]):
        pass  # whose comment it is cannot be told
    elif left:
        left[-1] = left[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
        code = "".join(cst.Module([]).code_for_node(statement) for statement in left)
        head, tail = lines[first][: place.start.column], lines[last - 1][place.end.column :]
        lines[first:last] = [head + code + tail]
    elif line.trailing_whitespace.comment:
        comment = lines[last - 1][place.end.column :].lstrip()
        lines[first:last] = [lines[first][: place.start.column] + comment]
    else:
        _cut(lines, first, last)
    return "".join(lines)


def _lines_alone(imports: Sequence[_Import], lines: Sequence[str]) -> set[int]:
    """Return the lines of the names that each have one to themselves, but for a comment."""
    first, last = imports[0].place.start.line - 1, imports[0].place.end.line
    found: set[int] = set()
    for unused in imports:
        name = re.escape(cst.Module([]).code_for_node(unused.alias.with_changes(comma=_NO_COMMA)))
        alone = re.compile(rf"\s*{name}\s*(,\s*)?(#.*)?\s*")
        found.update(n for n in range(first, last) if alone.fullmatch(lines[n]))
    return found


def _lines_of(text: str) -> list[str]:
    # Not str.splitlines(), which knows more line ends than files have.
    return io.StringIO(text).readlines()


def _statements_without(
    line: cst.SimpleStatementLine, unused: Sequence[cst.ImportAlias]
) -> Iterator[cst.BaseSmallStatement]:
    for statement in line.body:
        names: Sequence[cst.ImportAlias] = getattr(statement, "names", ())
        kept = [alias for alias in names if alias not in unused]
        if len(kept) == len(names):
            yield statement
        elif kept:
            kept[-1] = kept[-1].with_changes(comma=names[-1].comma)
            yield statement.with_changes(names=kept)


def _cut(lines: list[str], first: int, last: int) -> None:
    """Remove lines, and the gap that they leave: of those above and below, the wider stays."""
    above, below = first, last
    while above > 0 and not lines[above - 1].strip():
        above -= 1
    while below < len(lines) and not lines[below].strip():
        below += 1
    if above == 0:
        lines[:below] = []
    elif first - above < below - last:
        lines[above:last] = []
    elif above < first:
        lines[first:below] = []
    else:
        lines[first:last] = []
