"""How a test file imports one of our modules, from wherever it lies."""

from __future__ import annotations

import re
from pathlib import Path

from .parsing import Module
from .suite import Suite

_SETTINGS = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_IMPORTLIB = re.compile(r"^[^#;\n]*import-mode[ =\"',]+importlib", re.M)


class CannotImportError(Exception):
    """Why a file cannot import a module, or not for certain."""


def import_of_ours(suite: Suite, module: Module, ours: str, name: str) -> str:
    """Return the import of *name* from *ours*, one of our modules, for the file *module*.

    Raises:
        CannotImportError: it is not there, or the import would depend on how pytest is run.
    """
    folder = module.path.parent
    homes = [m.path.parent for m in suite.ours if m.path.stem == ours]
    above = [home for home in homes if home in (folder, *folder.parents)]
    if not above:
        raise CannotImportError(f"{ours}.py is not there yet (apply)")
    home = max(above, key=lambda path: len(path.parts))
    below = [folder, *folder.parents][: len(folder.parts) - len(home.parts)]
    is_package = suite.is_package(home)
    if not is_package:
        return (
            f"from {ours} import {name}"  # home is on the path: pytest puts its conftest.py there
        )
    if all(map(suite.is_package, below)):
        _check_is_imported_as_part_of(suite, module, home)
        return f"from .{'.' * len(below)}{ours} import {name}"
    if not home.parts or suite.is_package(home.parent) or _uses_importlib(suite.repo):
        raise CannotImportError(f"{folder} has no __init__.py, so how it imports {ours} is open")
    return f"from {home.name}.{ours} import {name}"


def _check_is_imported_as_part_of(suite: Suite, module: Module, home: Path) -> None:
    """Raise if a file is imported by a name that leaves out *home*: no dots lead up from there."""
    path = module.path.with_suffix("") if module.path.stem != "__init__" else module.path.parent
    short = ".".join(path.relative_to(home).parts)
    for other in suite.modules:
        for name in other.imports.values():
            if short and f"{name}.".startswith(f"{short}."):
                raise CannotImportError(f"{other.path} imports {short} without {home.name}")


def _uses_importlib(repo: Path) -> bool:
    texts = (
        (repo / name).read_text(errors="replace") for name in _SETTINGS if (repo / name).exists()
    )
    return any(map(_IMPORTLIB.search, texts))
