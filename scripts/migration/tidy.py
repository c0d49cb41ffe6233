"""Has what is written please the repository's own linter and formatter, where it did before."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from .repository import Repository

_SETTINGS = ("ruff.toml", ".ruff.toml")


def tidied(repository: Repository, path: Path, old: str, new: str) -> str:
    """Return *new* with its imports sorted and its lines laid out as *old* had them.

    Nothing else is changed: what a linter says of the user's own lines is the user's business.
    """
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None or "\r" in new or not _is_linted_by_ruff(repository):
        return new
    ruff_on = _Ruff(ruff, repository.root, path)
    if ruff_on.reports("I001", new) and not ruff_on.reports("I001", old):
        new = ruff_on.run(new, "check", "--quiet", "--select", "I001", "--fix-only") or new
    if ruff_on.run(old, "format", "--quiet") == old:
        new = ruff_on.run(new, "format", "--quiet") or new
    return new


def _is_linted_by_ruff(repository: Repository) -> bool:
    if any(repository.read(Path(name)) is not None for name in _SETTINGS):
        return True
    return b"[tool.ruff" in (repository.read(Path("pyproject.toml")) or b"")


class _Ruff:
    """ruff, on the text of one file, with the settings that count for it."""

    def __init__(self, executable: str, root: Path, path: Path) -> None:
        self._executable = executable
        self._root = root
        self._path = path

    def reports(self, rule: str, text: str) -> bool:
        """Return whether the settings of the repository have this rule, and the text breaks it."""
        return rule in self.run(text, "check", "--quiet", "--output-format", "concise")

    def run(self, text: str, *words: str) -> str:
        """Return what ruff prints for a text; nothing where it cannot be run."""
        command = [self._executable, *words, "--no-cache", "--stdin-filename", str(self._path), "-"]
        try:
            return subprocess.run(
                command, cwd=self._root, input=text, capture_output=True, text=True, timeout=30
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return ""
