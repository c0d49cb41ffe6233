"""Our files in a repository: what is copied, what must not be overwritten, what is newer."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shared.commands import CannotRunError

from .findings.parsing import names_in
from .findings.sources import OUR_FOLDER, OUR_MODULES, SIGN_OF_OURS, python_files, read_source
from .repository import Repository
from .state import Change, State

OUR_TESTS = Path(__file__).resolve().parent.parent.parent / "tests"
FUTURES_ALONE = ("concurrent_futures_fix",)

_IMPORTED_BY_OURS = {"concurrent_futures_fix", OUR_FOLDER}
_VERSION = re.compile(r'^__version__ = "(.+)"', re.M)


def files_of(modules: Sequence[str]) -> tuple[Path, ...]:
    """Return what is copied for some of our modules, relative to the folder of tests."""
    files = [Path(f"{module}.py") for module in modules]
    if tuple(modules) != FUTURES_ALONE:
        folder = OUR_TESTS / OUR_FOLDER
        ours = (path for path in folder.rglob("*") if path.suffix in (".py", ".toml"))
        files += sorted(path.relative_to(OUR_TESTS) for path in ours)
    return tuple(files)


def place_of(repository: Repository, file: Path) -> Path:
    """Return where one of our files goes in a repository, by its name there."""
    names = repository.renames
    first = Path(names.get(file.parts[0], file.parts[0]), *file.parts[1:])
    return repository.tests / first.with_stem(names.get(first.stem, first.stem))


def content_of(repository: Repository, file: Path) -> bytes:
    """Return one of our files as it is to be in a repository."""
    content = (OUR_TESTS / file).read_bytes()
    for old in _IMPORTED_BY_OURS & repository.renames.keys():
        new = repository.renames[old]
        content = re.sub(rb"\b%s\b" % old.encode(), new.encode(), content)
    return content


def check_renames(renames: Mapping[str, str]) -> None:
    """Raise CannotRunError where names are given that are none of ours, or no names."""
    for old, new in renames.items():
        if old not in {*OUR_MODULES, OUR_FOLDER}:
            ours = ", ".join(sorted({*OUR_MODULES, OUR_FOLDER}))
            raise CannotRunError(f"--rename: {old} is none of our files; those are {ours}")
        if not new.isidentifier():
            raise CannotRunError(f"--rename: {new!r} is no name of a module")


def copies(repository: Repository, files: Sequence[Path], state: State) -> list[Change]:
    """Return the changes that put our files into a repository.

    Raises:
        CannotRunError: a file of the user's has the name of one, or they are there in another
            version.
    """
    changes = [_copy(repository, file, state) for file in files]
    _refuse_clashes(repository, [c for c in changes if c.old is not None and c.old != c.new])
    return changes


def _copy(repository: Repository, file: Path, state: State) -> Change:
    path = place_of(repository, file)
    old, new = repository.read(path), content_of(repository, file)
    if old is not None and path in state.records and not state.is_as_we_left_it(path, old):
        return Change(path, old, old)  # which is the user's own now
    return Change(path, old, new, copy_of=OUR_TESTS / file)


def _refuse_clashes(repository: Repository, changes: Sequence[Change]) -> None:
    strangers = [c for c in changes if not is_ours(repository, c.path, c.old or b"")]
    if strangers:
        raise CannotRunError("; ".join(_clash(repository, change) for change in strangers[:3]))
    if changes:
        there, here = version_in(repository), _version_of((OUR_TESTS / OUR_FOLDER).parent)
        raise CannotRunError(
            f"{changes[0].path} is there in another version ({there} there, {here} here): "
            "run update first"
        )


def is_ours(repository: Repository, path: Path, content: bytes) -> bool:
    """Return whether a file of a repository is a copy of one of ours, of whatever version."""
    inside = path.relative_to(repository.tests) if repository.tests in path.parents else path
    folder = repository.tests / inside.parts[0]
    if len(inside.parts) > 1:
        return repository.read(folder / "registration.py") is not None
    return bool(SIGN_OF_OURS.search(content.decode(errors="replace")))


def _clash(repository: Repository, change: Change) -> str:
    name = change.path.relative_to(repository.tests).parts[0].removesuffix(".py")
    importers = list(_importers(repository, name))
    lost = _names_in(change.old or b"") - _names_in(change.new or b"")
    users = "; ".join(f"{where} imports {', '.join(names)}" for where, names in importers[:5])
    gone = sorted({n for _, names in importers for n in names if n in lost})
    return (
        f"{change.path} is a file of your own"
        + (f" ({users})" if users else "")
        + (f", and ours has no {', '.join(gone)}" if gone else "")
        + f": give ours another name with --rename {name}=our_{name}"
    )


def _names_in(content: bytes) -> set[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return set()
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    return defined | names_in(tree, ast.Store)


def _importers(repository: Repository, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield which lines of the repository import a module of the tests, and what of it."""
    for path in sorted(python_files(repository.root)):
        try:
            tree = ast.parse(read_source(repository.root / path)[0])
        except (SyntaxError, ValueError, OSError):
            continue
        for node in ast.walk(tree):
            names = list(_imported_from(node, name))
            if names:
                yield f"{path}:{getattr(node, 'lineno', 1)}", names


def _imported_from(node: ast.AST, module: str) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        if (node.module or "").rpartition(".")[2] == module:
            yield from (alias.name for alias in node.names)
        elif any(alias.name == module for alias in node.names):
            yield module
    elif isinstance(node, ast.Import):
        yield from (a.name for a in node.names if a.name.rpartition(".")[2] == module)


# --- Updates ------------------------------------------------------------------------------------


def version_in(repository: Repository) -> str:
    """Return which version of our folder a repository has; a dash where it has none."""
    return _version_of(repository.root / repository.tests, repository.renames)


def _version_of(tests: Path, renames: Mapping[str, str] | None = None) -> str:
    file = tests / (renames or {}).get(OUR_FOLDER, OUR_FOLDER) / "__init__.py"
    found = _VERSION.search(file.read_text(errors="replace")) if file.exists() else None
    return found[1] if found else "-"


OUR_VERSION = _version_of(OUR_TESTS)


def modules_in(repository: Repository) -> list[str]:
    """Return our modules that a repository has."""
    places = {module: place_of(repository, Path(f"{module}.py")) for module in sorted(OUR_MODULES)}
    contents = {module: repository.read(path) for module, path in places.items()}
    return [m for m, c in contents.items() if c is not None and is_ours(repository, places[m], c)]


def updates(repository: Repository) -> list[Change]:
    """Return the changes that make our files in a repository those of this version."""
    modules = modules_in(repository)
    folder = place_of(repository, Path(OUR_FOLDER))
    has_folder = repository.read(folder / "registration.py") is not None
    files = files_of(modules) if has_folder else [Path(f"{module}.py") for module in modules]
    wanted = {place_of(repository, file): file for file in files}
    changes = [
        Change(path, repository.read(path), content_of(repository, file))
        for path, file in wanted.items()
    ]
    there = (repository.root / folder).rglob("*.py") if has_folder else ()
    old = (path.relative_to(repository.root) for path in there)
    changes += [Change(p, repository.read(p), None) for p in sorted(old) if p not in wanted]
    return [change for change in changes if change.old != change.new]
