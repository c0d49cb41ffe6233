"""Finds old code that was commented out rather than deleted."""

from __future__ import annotations

import ast
import io
import itertools
import re
import textwrap
import tokenize
from collections.abc import Iterator, Sequence

from .finding import Finding
from .parsing import FUNCTIONS, Module, shortened, unparsed

_CODE_BEGINS = re.compile(
    r"(import|from|def|async|class|while|for|try|with|await|yield)\b|@|[\w.]*sleep\(|[\w.]+ = "
    r"|[\w.]*camera_?detector[\w.]*\(",
    re.I,
)
_CAMERA_DETECTOR = re.compile(r"camera_?detector", re.I)


def find_leftovers(module: Module) -> Iterator[Finding]:
    """Find the imports, fixtures, tests and sleeps that are commented out."""
    text = "\n".join(module.lines).lstrip("\ufeff")
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }
    end = 0
    for line in comments:
        if line <= end or not _CODE_BEGINS.match(_uncommented(comments[line]).strip()):
            continue
        block = [
            comments[n] for n in itertools.takewhile(comments.__contains__, itertools.count(line))
        ]
        length, statements = _longest_code(block)
        end = line + length - 1
        statement = next(filter(_is_leftover, statements), None)
        if statement is not None:
            yield Finding(
                module.path,
                line,
                "commented-code",
                f"commented-out code: {shortened(statement)}",
                "delete it: the version control has it",
                False,
            )


def _uncommented(comment: str) -> str:
    return comment[2:] if comment.startswith("# ") else comment.lstrip("#")


def _longest_code(block: Sequence[str]) -> tuple[int, list[ast.stmt]]:
    """Return how many lines of a block of comments are code, and its statements."""
    for length in range(len(block), 0, -1):
        code = textwrap.dedent("\n".join(map(_uncommented, block[:length])))
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError):
            continue
        return length, tree.body
    return 1, []


def _is_leftover(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, FUNCTIONS):
        is_fixture = any("fixture" in unparsed(d) for d in statement.decorator_list)
        return is_fixture or statement.name.startswith("test") or "camera" in statement.name
    inner = list(ast.walk(statement))
    if any(isinstance(n, (ast.Import, ast.ImportFrom, *FUNCTIONS)) for n in inner):
        return any(
            isinstance(n, ast.stmt) and n is not statement and _is_leftover(n) for n in inner
        )
    text = unparsed(statement)
    return "sleep(" in text or bool(_CAMERA_DETECTOR.search(text))
