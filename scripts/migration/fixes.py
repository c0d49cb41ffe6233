"""Rewrites what has a certain replacement, and leaves every other byte as it is.

Needs libcst::

    for path, text in fixed_sources(repo).items():
        (repo / path).write_bytes(text.encode())
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from .conftest_text import imports_in, with_imports
from .findings import NOWHERE, Plan, plans, read_source
from .house_style import HouseStyle
from .unused_imports import without_unused_imports

_Loop = Union[cst.While, cst.For]
_Replacement = Union[cst.BaseStatement, cst.FlattenSentinel[cst.BaseStatement], cst.RemovalSentinel]
_BOM = "\ufeff"
_EXCUSE = re.compile(r"\s*# *(noqa|nosec|type: *ignore|pylint:|pyright:).*", re.I)
"""What a comment says to a linter of the code that is replaced."""


def fixed_sources(repo: Path, tests: Path = NOWHERE) -> dict[Path, str]:
    """Return the new text of the files that would change, by their paths relative to *repo*.

    What is in the folder *tests*, relative to *repo*, belongs to the tests whatever it is called.
    The texts keep their line ends, so write them as UTF-8 bytes, or with ``newline=""``.
    """
    fixed = {}
    style = HouseStyle(repo)
    for path, plan in plans(repo, tests).items():
        text, encoding = read_source(repo / path)
        bom = _BOM if encoding == "utf-8-sig" else ""
        fixed[path] = bom + _rewritten(path, text, plan, style)
    return fixed


def _rewritten(path: Path, text: str, plan: Plan, style: HouseStyle) -> str:
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    code = wrapper.visit(_Rewriter(plan, style)).code
    code = without_unused_imports(text, code, plan.names_used_elsewhere)
    imports = {rewrite.imported for rewrite in plan.rewrites if rewrite.imported}
    there = imports_in(ast.parse(code))
    missing = [f"{line}\n" for line in sorted(imports) if not imports_in(ast.parse(line)) <= there]
    return style.tidied(path, text, with_imports(code, "".join(missing))) if missing else code


class _Rewriter(cst.CSTTransformer):
    """Puts other statements in the place of those that begin at certain lines."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, plan: Plan, style: HouseStyle) -> None:
        super().__init__()
        self._planned = {rewrite.line: rewrite.statements for rewrite in plan.rewrites}
        self._returns = plan.returns
        self._style = style
        self._above: list[cst.EmptyLine] = []
        """The lines above assignments that were removed: what is new says it now."""

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> _Replacement:
        """Replace a statement; the comment behind it stays, on the last line of what is new."""
        statements = self._statements_for(original_node)
        if statements is None:
            return updated_node
        lines, end = updated_node.leading_lines, updated_node.trailing_whitespace
        kept = list(_worth_keeping(end.comment))
        if not statements:
            if isinstance(original_node.body[0], (cst.Assign, cst.AnnAssign)):
                self._above += [*lines, *map(_line, kept)]
            return cst.RemoveFromParent()
        new = [self._parsed(original_node, statement) for statement in statements]
        new[0] = new[0].with_changes(leading_lines=self._with_those_above(lines))
        if kept:
            end = end.with_changes(comment=kept[0])
            new[-1] = new[-1].with_changes(trailing_whitespace=end)
        return cst.FlattenSentinel(new)

    def _with_those_above(self, lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
        together = [*self._above, *lines]
        self._above = []
        pairs = zip(together, [None, *together])
        return [line for line, above in pairs if line.comment or not above or above.comment]

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        """Say what it returns now."""
        returns = self._returns.get(self._line_of(original_node))
        if returns is None or updated_node.returns is None:
            return updated_node
        said = updated_node.returns.with_changes(annotation=cst.parse_expression(returns))
        return updated_node.with_changes(returns=said)

    def leave_While(self, original_node: cst.While, updated_node: cst.While) -> _Replacement:
        """Replace a loop that polls."""
        return self._without_loop(original_node, updated_node)

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> _Replacement:
        """Replace a loop that polls."""
        return self._without_loop(original_node, updated_node)

    def _without_loop(self, original_node: _Loop, updated_node: _Loop) -> _Replacement:
        statements = self._statements_for(original_node)
        if not statements:
            return updated_node
        new = [self._parsed(original_node, statement) for statement in statements]
        inner = map(_line, _comments_in(original_node))
        lines = self._with_those_above([*updated_node.leading_lines, *inner])
        new[0] = new[0].with_changes(leading_lines=lines)
        return cst.FlattenSentinel(new)

    def _statements_for(self, node: cst.CSTNode) -> tuple[str, ...] | None:
        return self._planned.get(self._line_of(node))

    def _line_of(self, node: cst.CSTNode) -> int:
        line: int = self.get_metadata(PositionProvider, node).start.line
        return line

    def _parsed(self, replaced: cst.CSTNode, statement: str) -> cst.SimpleStatementLine:
        indent = self.get_metadata(PositionProvider, replaced).start.column
        written = statement.replace('"#"', f"{self._style.quote}#{self._style.quote}")
        parsed = cst.parse_statement(self._style.fitted(written, indent))
        assert isinstance(parsed, cst.SimpleStatementLine)
        return parsed


def _line(comment: cst.Comment) -> cst.EmptyLine:
    return cst.EmptyLine(comment=comment)


def _worth_keeping(comment: cst.Comment | None) -> Iterator[cst.Comment]:
    """Yield a comment without what it excuses to a linter, if it has something else."""
    text = _EXCUSE.sub("", comment.value) if comment else ""
    if text:
        yield cst.Comment(text)


def _comments_in(loop: _Loop) -> Iterator[cst.Comment]:
    """Yield the comments behind and below the head of a loop, which say what it waits for."""
    pending: list[cst.CSTNode] = [loop.body]
    while pending:
        node = pending.pop(0)
        if isinstance(node, cst.Comment):
            yield from _worth_keeping(node)
        pending[:0] = node.children
