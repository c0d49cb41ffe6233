"""How a repository's own linters and formatters want what is written there: ruff does it for all.

A repository without settings of ruff has those of flake8, black and isort read for it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_RUFF_FILES = ("ruff.toml", ".ruff.toml")
_FILES = ("pyproject.toml", *_RUFF_FILES, ".isort.cfg", ".flake8", "setup.cfg", "tox.ini")
_RUFF_DEFAULT, _FLAKE8_DEFAULT = 88, 79
_WIDTH = re.compile(r"^\s*(?:max[-_])?line[-_]length\s*=\s*(\d+)", re.M)
_OF_88 = re.compile(r"\[tool\.(ruff|black)\b")
_SOURCES = re.compile(r"^\s*src(?:[-_]paths)?\s*=\s*\[?([^\]\n]*)", re.M)
_KNOWN = re.compile(r"^\s*known[-_](?:first[-_]party|local[-_]folder)\s*=\s*\[?([^\]\n]*)", re.M)
_AS_ONE = re.compile(r"force[-_]sort[-_]within[-_]sections\s*=\s*true", re.I)
_SINGLE = re.compile(r"(inline-quotes|quote-style)\s*=\s*\W?single")

_SORT = ("check", "--quiet", "--select", "I001", "--fix-only")
_FORMAT = ("format", "--quiet")


class HouseStyle:
    """What is read from the settings of a repository."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        texts = {name: text for name in _FILES for text in _read(repo / name)}
        everything = "\n".join(texts.values())
        self.width = min(_widths(texts), default=_FLAKE8_DEFAULT)
        """The longest line that all of them allow."""
        self.quote = "'" if _SINGLE.search(everything) else '"'
        self._settings: list[str] = []
        if not _is_linted_by_ruff(texts):
            self._settings = _options(
                {
                    "line-length": self.width,
                    "src": _listed(_SOURCES, everything) or [".", "src"],
                    "lint.isort.known-first-party": _listed(_KNOWN, everything),
                    "lint.isort.force-sort-within-sections": bool(_AS_ONE.search(everything)),
                }
            )

    def tidied(self, path: Path, old: str, new: str) -> str:
        """Return *new* with its imports sorted and its lines laid out as *old* had them.

        Nothing else is changed: what a linter says of the user's own lines is the user's business.
        """
        for step in (_SORT, _FORMAT):
            words = [*step, *self._settings, "--stdin-filename", str(path)]
            if self._run(old, words) == old:
                new = self._run(new, words) or new
        return new

    def fitted(self, code: str, indent: int = 0) -> str:
        """Return code on as many lines as it takes, where it is to be indented so far."""
        if max(map(len, code.splitlines()), default=0) + indent <= self.width:
            return code
        settings = {"line-length": self.width - indent, "format.quote-style": "preserve"}
        return self._run(code, [*_FORMAT, *_options(settings)]) or code

    def _run(self, text: str, words: list[str]) -> str:
        """Return what ruff makes of a text; nothing where it makes nothing of it."""
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "-"]
        try:
            done = subprocess.run(
                command, cwd=self._repo, input=text.encode(), capture_output=True, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode()


def _options(settings: dict[str, object]) -> list[str]:
    return ["--isolated", *(f"--config={key}={json.dumps(v)}" for key, v in settings.items())]


def _read(path: Path) -> Iterator[str]:
    if path.is_file():
        yield path.read_text(errors="replace")


def _listed(setting: re.Pattern[str], text: str) -> list[str]:
    lists = [re.split(r"[\s,\"']+", found.partition("#")[0]) for found in setting.findall(text)]
    return [word for words in lists for word in words if word]


def _is_linted_by_ruff(texts: dict[str, str]) -> bool:
    return "[tool.ruff" in texts.get("pyproject.toml", "") or any(n in texts for n in _RUFF_FILES)


def _widths(texts: dict[str, str]) -> Iterator[int]:
    for name, text in texts.items():
        given = _WIDTH.findall(text)
        if given:
            yield from map(int, given)
        elif name in _RUFF_FILES or _OF_88.search(text):
            yield _RUFF_DEFAULT
        elif "[flake8]" in text:
            yield _FLAKE8_DEFAULT
