"""Which files of a repository belong to its tests, and how they are read."""

from __future__ import annotations

import io
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

OUR_MODULES = {
    "mqtt_test_broker",
    "shared_mqtt_pool",
    "concurrent_futures_fix",
    "optimized_service_fixture",
    "camera_detector_optimized_fixture",
}
OUR_FOLDER = "mqtt_testing"
SIGN_OF_OURS = re.compile(r"^(_register\(|register\(|class ConcurrentFuturesFix\b)", re.M)
_SKIPPED_FOLDERS = {"venv", "env", "node_modules", "build", "dist", "site-packages", "__pycache__"}
_VENDORED = re.compile(
    r"_?vendor(ed|s)?|third[_-]?party|3rd[_-]?party|externals?|extern|submodules?|bower_components",
    re.I,
)
_TEST_FOLDER = re.compile(r"tests?|testing|\w+_tests?|tests?_\w+")
_TEST_FILE = re.compile(r"test_\w+\.py|\w+_test\.py|tests?\.py|conftest\.py")


def read_source(path: Path) -> tuple[str, str]:
    """Return the text of a Python file, its line ends as they are, and its encoding.

    Raises:
        SyntaxError, UnicodeDecodeError, OSError: it cannot be read as Python.
    """
    content = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding), encoding


def python_files(repo: Path) -> Iterator[Path]:
    """Yield the Python files of a repository, relative to it; not those of environments."""
    for folder, subfolders, files in os.walk(repo):
        subfolders[:] = [name for name in sorted(subfolders) if not is_skipped(Path(folder, name))]
        yield from (Path(folder, name).relative_to(repo) for name in files if name.endswith(".py"))


def is_skipped(folder: Path) -> bool:
    """Return whether a folder has no sources of the repository: environments, caches, our own."""
    name = folder.name
    return (
        name in _SKIPPED_FOLDERS
        or name.startswith(".")
        or name.endswith(".egg-info")
        or (folder / "pyvenv.cfg").exists()
        or _is_our_folder(folder)
    )


def _is_our_folder(folder: Path) -> bool:
    """Say so by what is in it, too: it may have been copied under another name."""
    return (folder / "registration.py").exists() and (
        folder.name == OUR_FOLDER or (folder / "pytest_internals.py").exists()
    )


def is_vendored(repo: Path, path: Path) -> bool:
    """Return whether a file was copied from elsewhere, or lies in a repository of its own."""
    folders = [repo / folder for folder in path.parents if folder.parts]
    is_a_copy = any(map(_VENDORED.fullmatch, path.parts[:-1]))
    return is_a_copy or any((folder / ".git").exists() for folder in folders)


def is_below_the_tests(path: Path, tests: Path) -> bool:
    """Return whether a file lies in a folder of tests, however deep."""
    is_in_theirs = bool(tests.parts) and tests in path.parents
    return is_in_theirs or any(map(_TEST_FOLDER.fullmatch, path.parts[:-1]))


def is_of_the_tests(path: Path, tests: Path) -> bool:
    """Say so of test files and conftests, and of what lies beside them or one folder below.

    What lies deeper in a folder of tests is software that they use, like what lies outside of it.
    So is what lies in the root, where *tests* is that: its other files are known by their names.
    """
    if _TEST_FILE.fullmatch(path.name) or path.stem in OUR_MODULES:
        return True
    if tests.parts and tests in (path.parent, path.parent.parent):
        return True
    return any(_TEST_FOLDER.fullmatch(folder) for folder in path.parts[-3:-1])
