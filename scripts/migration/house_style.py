"""What a repository's own linters want of a line: how long it is, and how imports are sorted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_INI_FILES = (".flake8", "setup.cfg", "tox.ini")
_TOML_FILES = ("pyproject.toml", "ruff.toml", ".ruff.toml", ".isort.cfg", *_INI_FILES)
_RUFF_DEFAULT, _FLAKE8_DEFAULT = 88, 79
_SOURCES = re.compile(r"^\s*src(?:[-_]paths)?\s*=\s*\[?([^\]\n]*)", re.M)
_KNOWN = re.compile(r"^\s*known[-_](?:first[-_]party|local[-_]folder)\s*=\s*\[?([^\]\n]*)", re.M)


@dataclass(frozen=True)
class Style:
    """What is read from the settings of ruff, flake8, black and isort."""

    width: int
    """The longest line that all of them allow."""
    sources: tuple[Path, ...]
    """The folders whose modules are of the first party."""
    known: frozenset[str]
    """What else is."""
    sorts_within_sections: bool
    """Whether `import a` and `from b import c` are sorted as one."""
    quote: str

    def is_first_party(self, root: str) -> bool:
        """Say whether a package or module is sorted as one of the repository's own."""
        here = ((folder / root, folder / f"{root}.py") for folder in self.sources)
        return root in self.known or any(path.exists() for pair in here for path in pair)


def style_of(repo: Path) -> Style:
    """Read the settings of a repository."""
    texts = [text for name in _TOML_FILES for text in _read(repo / name)]
    everything = "\n".join(texts)
    sources = [word for found in _SOURCES.findall(everything) for word in _listed(found)]
    return Style(
        width=min(_widths(repo), default=_RUFF_DEFAULT),
        sources=tuple(repo / source for source in sources or (".", "src")),
        known=frozenset(word for found in _KNOWN.findall(everything) for word in _listed(found)),
        sorts_within_sections=bool(
            re.search(r"force[-_]sort[-_]within[-_]sections\s*=\s*true", everything, re.I)
        ),
        quote="'" if re.search(r"(inline-quotes|quote-style)\s*=\s*\W?single", everything) else '"',
    )


def _read(path: Path) -> Iterator[str]:
    if path.is_file():
        yield path.read_text(errors="replace")


def _listed(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,\"']+", text.partition("#")[0]) if word]


def _widths(repo: Path) -> Iterator[int]:
    for name, of_it in (
        ("pyproject.toml", r"\[tool\.ruff\b"),
        ("ruff.toml", ""),
        (".ruff.toml", ""),
    ):
        for text in _read(repo / name):
            given = re.findall(r"^\s*line[-_]length\s*=\s*(\d+)", text, re.M)
            yield from map(int, given or [_RUFF_DEFAULT] * bool(re.search(of_it, text)))
    for name in _INI_FILES:
        for text in _read(repo / name):
            given = re.findall(r"^\s*max[-_]line[-_]length\s*=\s*(\d+)", text, re.M)
            yield from map(int, given or [_FLAKE8_DEFAULT] * ("[flake8]" in text))


def fitted(statement: str, indent: int, style: Style) -> str:
    """Return a statement on as many lines as the style takes, as black and ruff would write it."""
    if indent + len(statement) <= style.width:
        return statement
    value = getattr(ast.parse(statement, mode="exec").body[0], "value", None)
    call = value.value if isinstance(value, ast.Await) else value
    if not isinstance(call, ast.Call) or not (call.args or call.keywords):
        return statement
    parts: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    first = parts[0].col_offset
    starts = [part.col_offset for part in parts[1:]]
    end = (call.end_col_offset or len(statement)) - 1
    encoded = statement.encode()
    head, tail = encoded[:first].decode(), encoded[end:].decode()
    bounds = zip([first, *starts], [*starts, end])
    written = [encoded[a:b].decode().rstrip().rstrip(",") for a, b in bounds]
    joined = ", ".join(written)
    if indent + 4 + len(joined) <= style.width:
        return f"{head}\n    {joined}\n{tail}"
    return head + "\n" + "".join(f"    {part},\n" for part in written) + tail
