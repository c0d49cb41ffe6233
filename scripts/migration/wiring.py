"""What each option copies into a repository, and what it writes into conftest.py."""

from __future__ import annotations

import ast
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .findings.slow_fixtures import import_of_class
from .findings.sources import OUR_FOLDER
from .findings.suite import Suite
from .pytest_runs import CollectedTest, PytestRun
from .repository import CannotMigrateError, Repository, decode, encode_like
from .state import Change, State

OUR_TESTS = Path(__file__).resolve().parent.parent.parent / "tests"

SEARCH_PATH = """\
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # import mode importlib puts this folder on no path
"""

EVERY_CLIENT = '''

@pytest.fixture(scope="session", autouse=True)
def every_client(prompt_mqtt_clients, redirected_mqtt_clients):  # noqa: F811
    """Network loops end at once; connections to port 1883 go to the session's broker."""
'''

CLASS_FIXTURE = "camera_detector_class"
WHICH_CLASS = f'''

@pytest.fixture
def {CLASS_FIXTURE}():
    """The class that the slow fixture makes an instance of."""
    {{}}

    return CameraDetector
'''


@dataclass(frozen=True)
class Import:
    """An import from one of our modules."""

    module: str
    names: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    """What is imported unless the conftest.py has its own: ours is called in any case."""


@dataclass(frozen=True)
class Option:
    """One way to use the modules."""

    modules: tuple[str, ...]
    """The plain modules that it takes; those that are doors take the folder behind them, too."""
    imports: tuple[Import, ...]
    fixture: str
    """The fixture that shows whether the option is in effect."""
    source: str
    """The module that it comes from where the option is in effect."""
    serves: str
    """Which tests it is for, for a message that there are none."""
    needs_fixture: bool = False
    """Whether it is only of use to tests that ask for that fixture."""
    definitions: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """What is copied into the folder of tests, relative to it."""
        files = [Path(f"{module}.py") for module in self.modules]
        if self.modules != _FUTURES_ALONE:
            folder = OUR_TESTS / OUR_FOLDER
            ours = (path for path in folder.rglob("*") if path.suffix in (".py", ".toml"))
            files += sorted(path.relative_to(OUR_TESTS) for path in ours)
        return tuple(files)


_FUTURES_ALONE = ("concurrent_futures_fix",)
_FUTURES = Import("concurrent_futures_fix", ("fix_concurrent_futures",))

OPTIONS = {
    1: Option(
        modules=(
            "mqtt_test_broker",
            "shared_mqtt_pool",
            "concurrent_futures_fix",
            "optimized_service_fixture",
            "camera_detector_optimized_fixture",
        ),
        imports=(
            Import(
                "camera_detector_optimized_fixture",
                ("camera_detector_fast",),
                hooks=("pytest_sessionfinish",),
            ),
            _FUTURES,
        ),
        fixture="camera_detector",
        source="mqtt_testing.services.fixture",
        serves="tests that use a fixture camera_detector",
        needs_fixture=True,
    ),
    2: Option(
        modules=_FUTURES_ALONE,
        imports=(_FUTURES,),
        fixture="fix_concurrent_futures",
        source="concurrent_futures_fix",
        serves="all tests",
    ),
    3: Option(
        modules=("mqtt_test_broker", "shared_mqtt_pool"),
        imports=(
            Import("mqtt_test_broker", ("session_mqtt_broker",)),
            Import("shared_mqtt_pool", ("prompt_mqtt_clients", "redirected_mqtt_clients")),
        ),
        fixture="prompt_mqtt_clients",
        source="mqtt_testing.clients.plugin",
        serves="all tests",
        definitions=EVERY_CLIENT,
    ),
}


def planned_changes(
    repository: Repository, option: Option, run: PytestRun, state: State
) -> list[Change]:
    """Return what is missing of an option; *run* says how pytest is set up there.

    Raises:
        CannotMigrateError: a file cannot be read, or is no Python.
    """
    changes = [_copy(repository, file, state) for file in option.files]
    changes.append(_wired_conftest(repository, option, run))
    return [change for change in changes if change.old != change.new]


def _copy(repository: Repository, file: Path, state: State) -> Change:
    ours = OUR_TESTS / file
    path = repository.tests / file
    old, new = repository.read(path), ours.read_bytes()
    if old is not None and path in state.records and not state.is_as_we_left_it(path, old):
        return Change(path, old, old)  # the user has made it his own
    return Change(path, old, new, copy_of=ours)


def useful_tests(option: Option, run: PytestRun) -> list[CollectedTest]:
    """Return the tests that an option does something for.

    Raises:
        CannotMigrateError: there are none.
    """
    tests = [t for t in run.tests if not option.needs_fixture or option.fixture in t.fixtures]
    if not tests:
        raise CannotMigrateError(
            f"this option is for {option.serves}, and none of the {len(run.tests)} tests here "
            "does. Another service takes a dozen lines (README, step 3); --option 3 is for suites "
            "that make their clients without fixtures, --option 2 for the executors alone"
        )
    return tests


def is_in_effect(option: Option, test: CollectedTest) -> bool:
    """Say whether a test gets the option's fixture from our modules."""
    return f".{test.fixtures.get(option.fixture)}".endswith(f".{option.source}")


# --- conftest.py --------------------------------------------------------------------------------


def wired_options(repository: Repository) -> list[int]:
    """Return the options that the conftest.py has all lines of, and the folder all modules."""
    source = repository.read(repository.conftest)
    if source is None:
        return []
    tree = _parse(decode(source, repository.conftest), repository.conftest)
    return [
        number
        for number, option in OPTIONS.items()
        if not list(_missing_imports(option, tree, repository.is_package))
        and not _misses_definitions(option, tree)
        and all((repository.root / repository.tests / file).exists() for file in option.files)
    ]


def _wired_conftest(repository: Repository, option: Option, run: PytestRun) -> Change:
    old = repository.read(repository.conftest)
    text = decode(old or b"", repository.conftest)
    tree = _parse(text, repository.conftest)
    block = "".join(_block(repository, option, run, tree))
    if not block:
        return Change(repository.conftest, old, old)
    new = with_block(text, block)
    _parse(new, repository.conftest)
    return Change(repository.conftest, old, encode_like(old or b"", new))


def _parse(text: str, path: Path) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise CannotMigrateError(
            f"{path}:{line} is no valid Python: {getattr(error, 'msg', error)}"
        ) from None


def _block(
    repository: Repository, option: Option, run: PytestRun, tree: ast.Module
) -> Iterator[str]:
    missing = list(_missing_imports(option, tree, repository.is_package))
    if missing and _needs_search_path(repository, run):
        yield f"{SEARCH_PATH}\n"
    definitions = option.definitions if _misses_definitions(option, tree) else ""
    definitions += _class_fixture(repository, option, tree)
    if definitions:
        yield "import pytest\n"
    dot = "." if repository.is_package else ""
    for wanted in missing:
        hooks = [hook for hook in wanted.hooks if hook not in _names_bound_in(tree)]
        names = ", ".join([*wanted.names, *hooks])
        yield f"from {dot}{wanted.module} import {names}  # noqa: F401\n"
    yield from sorted(_imports_from_plugins(option, run, tree))
    yield definitions


def _class_fixture(repository: Repository, option: Option, tree: ast.Module) -> str:
    """Return the fixture that tells which class is meant, where the fast one would not know."""
    if not option.needs_fixture or CLASS_FIXTURE in _names_bound_in(tree):
        return ""
    suite = Suite(repository.root, repository.tests)
    wanted = import_of_class(suite, option.fixture, "CameraDetector")
    return WHICH_CLASS.format(wanted) if wanted else ""


def _imports_from_plugins(option: Option, run: PytestRun, tree: ast.Module) -> set[str]:
    """Return what makes a plugin's fixture one of conftest.py: there it can be replaced."""
    if not option.needs_fixture or option.fixture in _names_bound_in(tree):
        return set()
    return {
        f"from {test.fixtures[option.fixture]} import {test.of_plugins[option.fixture]}"
        "  # noqa: F401 (a plugin's fixture is replaced where it is imported)\n"
        for test in run.tests
        if option.fixture in test.of_plugins
    }


def _needs_search_path(repository: Repository, run: PytestRun) -> bool:
    folder = os.path.realpath(repository.root / repository.tests)
    absolute = not repository.is_package
    return absolute and run.import_mode == "importlib" and folder not in run.path


def _missing_imports(option: Option, tree: ast.Module, is_package: bool) -> Iterator[Import]:
    for wanted in option.imports:
        imported = {
            alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and _is_from(node, wanted.module, is_package)
            for alias in node.names
        }
        if "*" not in imported and not imported.issuperset(wanted.names):
            yield wanted


def _is_from(node: ast.ImportFrom, module: str, is_package: bool) -> bool:
    if not is_package:
        return node.level == 0 and node.module == module
    if node.level == 1:
        return node.module == module
    return node.level == 0 and (node.module or "").endswith(f".{module}")


def _misses_definitions(option: Option, tree: ast.Module) -> bool:
    present = list(_parameters(tree))
    wanted = _parameters(ast.parse(option.definitions))
    return any(not any(names <= those for those in present) for names in wanted)


def _parameters(tree: ast.Module) -> Iterator[set[str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield {argument.arg for argument in node.args.args}


def _names_bound_in(tree: ast.Module) -> set[str]:
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


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
