"""Finds the lines that people paste into conftest.py and that cannot work in any pytest."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from traceback import walk_stack
from types import ModuleType
from typing import Any

from ..pytest_internals import function_of, marker_of

_ENOUGH = "without it the fast fixture takes the place of every fixture {}."


def useless_lines(name: str, fast: Any) -> Iterator[str]:
    """Give which lines were meant to replace the fixture *name* by *fast*, and do nothing."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    for module in [module for module in modules if name in vars(module)]:
        fixture = vars(module)[name]
        if marker_of(fixture) is None:
            continue
        code = getattr(function_of(fixture), "__code__", None)
        if code and any(vars(module).get(used) is fast for used in code.co_names):
            yield (
                f"{code.co_filename}:{code.co_firstlineno}: a fixture cannot be called like a "
                f"function, so this {name} was not used. Delete it: {_ENOUGH.format(name)}"
            )
        path, file = module.__name__, module.__file__
        twins = [other for other in modules if vars(other).get("__file__") == file]
        if fixture is fast and "." in path and len(twins) > 1:
            yield (
                f"conftest.py: `{path}.{name} = ...` does nothing, since pytest collects another "
                f"module object of that file. Delete it, and `import {path}`: "
                f"{_ENOUGH.format(name)}"
            )


class _TestsPackageFinder(MetaPathFinder):
    """Explains why `import tests.test_detect` fails in a conftest.py where tests/ is no package.

    It comes last in sys.meta_path, so it is asked only for what no other finder finds. There may be
    another package `tests`, which a library has installed by mistake.
    """

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for the package `tests`, with what to write instead."""
        line = _importing_line() if fullname.split(".")[0] == "tests" else None
        if line is None:
            return None
        pytest_unconfigure()  # pytest does not call it where a conftest.py fails
        raise ModuleNotFoundError(
            f"No module named {fullname!r}: there is no tests/__init__.py. In conftest.py, delete "
            f"`{line}` and what is assigned to its fixtures: {_ENOUGH.format('of that name')}",
            name=fullname,
        )


def _importing_line() -> str | None:
    """Return the line of a conftest.py that imports something now; None if none does."""
    for frame, number in walk_stack(inspect.currentframe()):
        file = frame.f_code.co_filename
        if Path(file).name == "conftest.py":
            return linecache.getline(file, number, frame.f_globals).strip()
        if file != __file__ and not file.startswith("<frozen importlib"):
            return None
    return None


_FINDER = _TestsPackageFinder()


def pytest_addhooks() -> None:
    """Explain imports of the package `tests` from now on; called as this plugin is registered."""
    sys.meta_path.append(_FINDER)


def pytest_unconfigure() -> None:
    """Explain them no more."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
