"""The text of a conftest.py: what it imports and defines, and where more of that goes."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shared.commands import CannotRunError

from .findings.parsing import names_in
from .repository import Repository, decode


def parsed(text: str, path: Path) -> ast.Module:
    """Parse a file.

    Raises:
        CannotRunError: it is no Python.
    """
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise CannotRunError(
            f"{path}:{line} is no valid Python: {getattr(error, 'msg', error)}"
        ) from None


def conftest_of(repository: Repository) -> ast.Module:
    """Return the conftest.py that gets the imports, parsed; there may be none yet."""
    text = decode(repository.read(repository.conftest) or b"", repository.conftest)
    return parsed(text, repository.conftest)


def names_bound_in(tree: ast.Module) -> set[str]:
    """Return the names that a module imports, defines or assigns to."""
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return defined | _imported(ast.walk(tree)) | names_in(tree, ast.Store)


def imports_in(tree: ast.Module) -> set[str]:
    """Return the names that the module itself imports, at its top level."""
    return _imported(tree.body)


def _imported(nodes: Iterable[ast.AST]) -> set[str]:
    statements = (node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    return {alias.asname or alias.name for node in statements for alias in node.names}


def overrides_in(tree: ast.Module) -> dict[str, str]:
    """Return the fixtures that a module overrides, and what by: `override_fixture(...)`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    pairs = [c.args for c in calls if ast.unparse(c.func).endswith("override_fixture")]
    named = [(a[0].value, a[1]) for a in pairs if len(a) > 1 and isinstance(a[0], ast.Constant)]
    return {name: ast.unparse(fixture) for name, fixture in named if isinstance(name, str)}


def services_in(tree: ast.Module) -> list[str]:
    """Return the names by which tests ask for what `service_fixture()` has made in a module."""
    overrides = {fixture: name for name, fixture in overrides_in(tree).items()}
    made = [
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith("service_fixture")
    ]
    made += [fixture for fixture in overrides if fixture.endswith("camera_detector_fast")]
    return [overrides.get(fixture, fixture) for fixture in made]


# --- Where things go ----------------------------------------------------------------------------


def with_imports(text: str, imports: str) -> str:
    """Put *imports* below those that a file begins with, or where imports may begin.

    Names go to a line that imports from their module, if what it says to linters is true of them.
    """
    placed = ""
    for line in io.StringIO(imports).readlines():
        joined = _joined(text, line)
        placed += line if joined is None else ""
        text = joined or text
    return _with_lines(text, placed) if placed else text


def _joined(text: str, line: str) -> str | None:
    new = re.fullmatch(r"(from \S+ import )(\w[\w, ]*?)((?:  #.*)?)\n", line)
    if new is None:
        return None
    head, _, comment = map(re.escape, new.groups())
    same = re.compile(rf"^{head}(?=\w[^\n]*{comment}\r?$)", re.M)
    return same.sub(f"{new[1]}{new[2]}, ", text, count=1) if same.search(text) else None


def _with_lines(text: str, imports: str) -> str:
    tree = ast.parse(text)
    place = max((node.end_lineno or 0 for node in _leading_imports(tree)), default=0)
    lines = io.StringIO(text).readlines()  # with their line ends
    if not place:
        return with_block(text, imports)
    if re.search(r"noqa:.*E402", lines[place - 1]):
        imports = _excused_from_order(imports)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not lines[place - 1].endswith("\n"):
        lines[place - 1] += newline
    return "".join([*lines[:place], imports.replace("\n", newline), *lines[place:]])


def _excused_from_order(imports: str) -> str:
    imports = imports.replace("# noqa: ", "# noqa: E402, ")
    return re.sub(r"^((?:from|import) [^#\n]*[^#\s])$", r"\1  # noqa: E402", imports, flags=re.M)


def _leading_imports(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the imports that stand before any other code, but for what they need themselves."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not _may_stand_between_imports(node):
            return


def _may_stand_between_imports(node: ast.stmt) -> bool:
    if isinstance(node, (ast.If, ast.Try)):
        return True
    source = ast.unparse(node)
    is_string = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_string or bool(re.search(r"\bsys\.path\b|\bos\.environ\b|^__\w+__ = ", source))


def with_block(text: str, block: str) -> str:
    """Put *block* where imports may begin."""
    lines = io.StringIO(text).readlines()  # with their line ends
    place = _first_place(lines, ast.parse(text))
    before, after = lines[:place], lines[place:]
    newline = "\r\n" if "\r\n" in text else "\n"
    if before and not before[-1].endswith("\n"):
        before[-1] += newline
    if before and before[-1].strip():
        before.append(newline)
    if after and after[0].strip():
        block += "\n"
    return "".join([*before, block.replace("\n", newline), *after])


def _first_place(lines: Sequence[str], tree: ast.Module) -> int:
    """Return the number of lines before the first place where an import may stand."""
    heads = [
        node
        for number, node in enumerate(tree.body)
        if (number == 0 and ast.get_docstring(tree, clean=False) is not None)
        or (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    ]
    if heads:
        return heads[-1].end_lineno or 0
    # The first lines may say in what encoding the file is, or who owns it.
    return next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))


def with_definitions(text: str, definitions: str) -> str:
    """Put *definitions* at the end, two blank lines below what is there."""
    newline = "\r\n" if "\r\n" in text else "\n"
    above = text.rstrip()
    gap = newline * 3 if above else ""
    return above + gap + definitions.strip("\n").replace("\n", newline) + newline
