"""A user's repository: where its tests are, and how its files are written."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.commands import CannotRunError

from .findings.sources import python_files

PATIENCE = 300.0
"""Seconds that the import of a file, or a test, may take without an end."""

USUAL_FOLDERS = ("tests", "test")


@dataclass(frozen=True)
class Repository:
    """A repository with a folder of tests, and the Python that runs them."""

    root: Path
    tests: Path
    """Relative to the root, as all paths of a repository are here; `.` if they are in it."""
    python: str
    renames: Mapping[str, str] = field(default_factory=dict)
    """Our modules that have another name there, since the user has files of ours' names."""

    @property
    def conftest(self) -> Path:
        """The conftest.py that gets the imports; there may be none yet."""
        return self.tests / "conftest.py"

    @property
    def is_package(self) -> bool:
        """Say whether the modules in the tests folder import each other with a dot."""
        return (self.root / self.tests / "__init__.py").exists()

    def read(self, path: Path) -> bytes | None:
        """Return what is in a file; None where there is none."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def fingerprint(self) -> str:
        """Return a digest of the tests' sources, which tells whether anybody has edited one."""
        digest = hashlib.sha256()
        for path in sorted(python_files(self.root / self.tests)):
            content = (self.root / self.tests / path).read_bytes()
            digest.update(f"{self.tests / path}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()


def open_repository(
    root: Path,
    tests: Path | None,
    python: str | None,
    renames: Mapping[str, str] | None = None,
    default_python: str = sys.executable,
) -> Repository:
    """Return the repository at *root*.

    Args:
        root: its folder.
        tests: its folder of tests, relative to the root; None: where they usually are.
        python: what runs its tests; None: the Python of its .venv, or else the default.
        renames: what modules of ours are called there.
        default_python: the one that was asked to run us.

    Raises:
        CannotRunError: there is no such thing.
    """
    if not root.is_dir():
        raise CannotRunError(f"there is no folder {root}")
    root = root.resolve()
    candidates = [_inside(root, tests)] if tests else [Path(name) for name in USUAL_FOLDERS]
    folder = next((path for path in candidates if (root / path).is_dir()), None)
    if folder is None:
        names = " or ".join(f"{path}/" for path in candidates)
        raise CannotRunError(
            f"{root} has no folder {names}; name that of its tests: --tests (a dot, if they are in "
            "no folder of their own)"
        )
    if next(python_files(root / folder), None) is None:
        raise CannotRunError(f"{root / folder} has no Python files: these are no pytest tests")
    found = _find_python(root, python, default_python)
    return Repository(root, folder, found, renames or {})


def _inside(root: Path, folder: Path) -> Path:
    if folder.is_absolute() and root in (folder, *folder.parents):
        folder = folder.relative_to(root)
    if folder.is_absolute() or ".." in folder.parts:
        raise CannotRunError(f"--tests names a folder inside {root}, which {folder} is not")
    return folder


def _find_python(root: Path, named: str | None, default: str) -> str:
    if named is None:
        own = root / ".venv" / "bin" / "python"
        return str(own) if own.exists() else default
    found = shutil.which(named)
    if found is None:
        raise CannotRunError(f"there is no Python {named}; name another one: --python")
    # Not resolved: the real file of a virtual environment's Python is outside of it.
    return str(Path(found).absolute())


# --- Texts --------------------------------------------------------------------------------------


def decode(source: bytes, path: Path) -> str:
    """Return a Python source as text, its line ends as they are.

    Raises:
        CannotRunError: it is in no encoding that Python reads.
    """
    try:
        return source.decode(_encoding(source))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise CannotRunError(f"{path} cannot be read: {error}") from None


def encode_like(original: bytes, text: str) -> bytes:
    """Return *text* in the encoding of *original*, and with its line ends if it has others."""
    if b"\r\n" in original and "\r" not in text:
        text = text.replace("\n", "\r\n")
    return text.lstrip("\ufeff").encode(_encoding(original))


def _encoding(source: bytes) -> str:
    return tokenize.detect_encoding(io.BytesIO(source).readline)[0]
