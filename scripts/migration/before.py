"""The suite as it was before the migration, in a copy."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from shared.commands import CannotRunError

from .findings.sources import is_skipped
from .repository import Repository
from .state import FOLDER, State

COPY = "before"
"""The folder, in that of the state, for the suite as it was."""


@contextlib.contextmanager
def as_it_was(repository: Repository, state: State) -> Iterator[Path]:
    """Give a copy of the repository as it was, until the end of the ``with`` block.

    It is inside the repository, so that settings are found in the same folders above it; what the
    migration does not touch is linked.

    Raises:
        CannotRunError: it cannot be copied.
    """
    copy = state.folder / COPY
    _remove(copy)
    try:
        _make_copy(repository, state, copy)
        yield copy
    finally:
        _remove(copy)


def _make_copy(repository: Repository, state: State, copy: Path) -> None:
    changes = state.as_it_was()
    changed = {change.path.parts[0] for change in changes}
    try:
        copy.mkdir(parents=True)
        for entry in repository.root.iterdir():
            if entry.name in changed or _has_tests(repository, entry):
                _copy(entry, copy / entry.name)
            elif entry.name != FOLDER:
                (copy / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
        for change in changes:
            if change.new is None:
                (copy / change.path).unlink(missing_ok=True)
            else:
                (copy / change.path).write_bytes(change.new)
    except OSError as error:  # shutil.Error, which has a list, is one
        raise CannotRunError(f"the suite cannot be copied to {copy}: {error}") from None


def _has_tests(repository: Repository, entry: Path) -> bool:
    """Return whether tests may be in an entry of the root: Python would see through a link."""
    if repository.tests.parts:
        return entry.name == repository.tests.parts[0]
    return not is_skipped(entry)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=ignore)
    else:
        shutil.copy2(source, target)


def _remove(copy: Path) -> None:
    if copy.exists():
        shutil.rmtree(copy)
