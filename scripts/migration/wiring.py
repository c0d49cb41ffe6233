"""What each option copies into a repository, and what it writes into conftest.py."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from shared.commands import CannotRunError

from .conftest_text import (
    conftest_of,
    imports_in,
    names_bound_in,
    overrides_in,
    parsed,
    services_in,
    with_definitions,
    with_imports,
)
from .copies import copies, place_of
from .findings.connections import LOOPBACK, REDIRECT, Connections, as_call
from .findings.parsing import called_name
from .findings.slow_fixtures import import_of_class
from .findings.suite import Suite
from .house_style import HouseStyle
from .options import OPTIONS, SERVICE_SOURCE, Import, Option
from .pytest_runs import CollectedTest, PytestRun
from .repository import Repository, decode, encode_like
from .state import Change, State

SEARCH_PATH = """\
# Import mode importlib puts this folder on no path.
sys.path.append(str(Path(__file__).parent))
"""

LED_BY = "redirected_mqtt_clients"
"""The fixture that leads connections to our broker, where a suite has no call that does."""

NARROW = 79
"""The longest line that every linter allows; ruff takes a comment to it for no part of the line."""

CLASS_FIXTURE = "camera_detector_class"
WHICH_CLASS = f'''
@pytest.fixture
def {CLASS_FIXTURE}():
    """The class that the slow fixture makes an instance of."""
    {{}}

    return CameraDetector
'''


def source_in(repository: Repository, option: Option) -> str:
    """Return the end of the name of the module that an option's fixture comes from there."""
    return repository.renames.get(option.source, option.source)


def watched_fixtures(repository: Repository) -> dict[str, str]:
    """Return the fixtures by which it shows what is in effect, and where they come from then."""
    wired = [OPTIONS[number] for number in wired_options(repository)]
    tree = conftest_of(repository)
    others = {name: f":{fixture}" for name, fixture in overrides_in(tree).items()}
    services = dict.fromkeys(services_in(tree), SERVICE_SOURCE)
    return {**others, **services, **{o.fixture: source_in(repository, o) for o in wired}}


def essential_fixtures(repository: Repository) -> list[str]:
    """Return the fixtures without which what was wired is not in effect."""
    options = wired_options(repository)
    chosen = [number for number in options if number != 2] or options
    fixtures = [OPTIONS[number].fixture for number in chosen]
    services = wired_services(repository)
    if chosen == [2] and services:
        fixtures = []
    return [*services, *fixtures]


def planned_changes(
    repository: Repository, option: Option, run: PytestRun, state: State
) -> list[Change]:
    """Return what is missing of an option; *run* says how pytest is set up there.

    Raises:
        CannotRunError: a file cannot be read, or is no Python, or is the user's own.
    """
    option = _as_there(repository, option, run)
    changes = copies(repository, option.files, state)
    changes.append(_wired_conftest(repository, option, run))
    return [change for change in changes if change.old != change.new]


def _as_there(repository: Repository, option: Option, run: PytestRun) -> Option:
    """Return an option that leads the connections that are found there, unless they are led."""
    tree = conftest_of(repository)
    if led_by_fixture(tree):
        return _without_call(option)
    if not option.redirection or _redirects(tree):
        return option
    call = _call_for(repository, option, run)
    imports = tuple(
        replace(i, names=(LOOPBACK, *i.names)) if LOOPBACK in call and REDIRECT in i.names else i
        for i in option.imports
    )
    return replace(option, redirection=call, imports=imports)


def _call_for(repository: Repository, option: Option, run: PytestRun) -> str:
    suite = Suite(repository.root, repository.tests)
    asked_for = run.addresses if run.connects_as_it_is_collected else ()
    return as_call(Connections(suite).addresses(option.ports, asked_for))


def led_by_fixture(tree: ast.Module) -> bool:
    """Return whether a conftest.py leads connections to our broker by the fixture that does so."""
    return any(
        LED_BY in (getattr(node, "arg", ""), getattr(node, "value", "")) for node in ast.walk(tree)
    )


def _without_call(option: Option) -> Option:
    """Return an option where connections are led by the fixture."""
    kept = [(i, tuple(name for name in i.names if name != REDIRECT)) for i in option.imports]
    imports = tuple(replace(i, names=names) for i, names in kept if names)
    return replace(option, imports=imports, redirection="")


def notes(repository: Repository, option: Option, run: PytestRun) -> list[str]:
    """Say what is wired in another way than it would be by *option*."""
    if not option.redirection or not led_by_fixture(conftest_of(repository)):
        return []
    call = _call_for(repository, option, run)
    return [
        f"{repository.conftest} leads clients by the fixture {LED_BY}, which stays: it is in force "
        "from the first test on that gets it. To lead what connects as tests are collected, too, "
        f"have this at its top level in place of the fixture: {call}"
    ]


def _redirects(tree: ast.Module) -> bool:
    """Return whether a conftest.py leads connections to our broker."""
    calls = (n.value for n in tree.body if isinstance(n, ast.Expr))
    return any(isinstance(c, ast.Call) and called_name(c) == REDIRECT for c in calls)


def useful_tests(option: Option, run: PytestRun) -> list[CollectedTest]:
    """Return the tests that an option does something for."""
    return [t for t in run.tests if not option.needs_fixture or option.fixture in t.fixtures]


def is_in_effect(option: Option, test: CollectedTest) -> bool:
    """Return whether a test gets the option's fixture from our modules."""
    return f".{test.fixtures.get(option.fixture)}".endswith(f".{option.source}")


# --- conftest.py --------------------------------------------------------------------------------


def wired_options(repository: Repository) -> list[int]:
    """Return the options that the conftest.py has all lines of, and the folder all modules."""
    if repository.read(repository.conftest) is None:
        return []
    tree = conftest_of(repository)
    return [number for number, option in OPTIONS.items() if _is_wired(repository, option, tree)]


def _is_wired(repository: Repository, option: Option, tree: ast.Module) -> bool:
    option = _without_call(option) if led_by_fixture(tree) else option
    places = (repository.root / place_of(repository, file) for file in option.files)
    return (
        not list(_missing_imports(repository, option, tree))
        and not _misses_definitions(option, tree)
        and (not option.redirection or _redirects(tree))
        and all(place.exists() for place in places)
    )


def wired_services(repository: Repository) -> list[str]:
    """Return the names by which tests ask for the services that the conftest.py has wired."""
    return services_in(conftest_of(repository))


def _wired_conftest(repository: Repository, option: Option, run: PytestRun) -> Change:
    path = repository.conftest
    old = repository.read(path)
    text = decode(old or b"", path)
    tree = parsed(text, path)
    style = HouseStyle(repository.root)
    imports = "".join(_imports(repository, option, run, tree, style))
    definitions = option.definitions if _misses_definitions(option, tree) else ""
    definitions += _class_fixture(repository, option, tree)
    if definitions and "pytest" not in imports_in(tree) and "pytest." in definitions:
        imports = f"import pytest\n{imports}"
    if not imports and not definitions:
        return Change(path, old, old)
    new = with_imports(text, imports) if imports else text
    new = with_definitions(new, style.fitted(definitions)) if definitions else new
    new = style.tidied(path, text, new)
    parsed(new, path)
    return Change(path, old, encode_like(old or b"", new))


def _imports(
    repository: Repository, option: Option, run: PytestRun, tree: ast.Module, style: HouseStyle
) -> Iterator[str]:
    missing = list(_missing_imports(repository, option, tree))
    needs_path = bool(missing) and _needs_search_path(repository, run)
    if needs_path:
        bound = imports_in(tree)
        yield "" if "sys" in bound else "import sys\n"
        yield "" if "Path" in bound else "from pathlib import Path\n"
        yield f"\n{SEARCH_PATH}\n"
    excuse = "  # noqa: E402" if needs_path else ""
    bound = imports_in(tree)
    lines = [f"{line}{excuse}\n" for line in option.more_imports if not _binds(line, bound)]
    for wanted in missing:
        hooks = [hook for hook in wanted.hooks if hook not in names_bound_in(tree)]
        rest = excuse if wanted.is_used else "  # noqa: E402, F401" if excuse else "  # noqa: F401"
        module = _name_there(repository, wanted.module)
        lines.append(_import_line(module, [*wanted.names, *hooks], rest))
    yield from lines
    yield from sorted(_imports_from_plugins(option, run, tree))
    if option.redirection and not _redirects(tree):  # before anything connects
        yield f"\n{style.fitted(option.redirection).rstrip()}\n"


def _import_line(module: str, names: Sequence[str], comment: str) -> str:
    line = f"from {module} import {', '.join(names)}{comment}"
    if len(line) <= NARROW:
        return f"{line}\n"
    inside = "".join(f"    {name},\n" for name in sorted(names))
    return f"from {module} import ({comment}\n{inside})\n"


def _binds(line: str, bound: set[str]) -> bool:
    return imports_in(ast.parse(line)) <= bound


def _name_there(repository: Repository, module: str) -> str:
    dot = "." if repository.is_package else ""
    return f"{dot}{repository.renames.get(module, module)}"


def _class_fixture(repository: Repository, option: Option, tree: ast.Module) -> str:
    """Return the fixture that tells which class is meant, where the fast one would not know."""
    if option is not OPTIONS[1] or CLASS_FIXTURE in names_bound_in(tree):
        return ""
    suite = Suite(repository.root, repository.tests)
    wanted = import_of_class(suite, option.fixture, "CameraDetector")
    return WHICH_CLASS.format(wanted) if wanted else ""


def _imports_from_plugins(option: Option, run: PytestRun, tree: ast.Module) -> set[str]:
    """Return what makes a plugin's fixture one of conftest.py: there it can be replaced."""
    if not option.needs_fixture or option.fixture in names_bound_in(tree):
        return set()
    return {
        "# A plugin's fixture is replaced where it is imported.\n"
        f"from {test.fixtures[option.fixture]} import {test.of_plugins[option.fixture]}"
        "  # noqa: F401\n"
        for test in run.tests
        if option.fixture in test.of_plugins and not is_in_effect(option, test)
    }


def _needs_search_path(repository: Repository, run: PytestRun) -> bool:
    folder = os.path.realpath(repository.root / repository.tests)
    absolute = not repository.is_package
    return absolute and run.import_mode == "importlib" and folder not in run.path


def _missing_imports(repository: Repository, option: Option, tree: ast.Module) -> Iterator[Import]:
    for wanted in option.imports:
        module = repository.renames.get(wanted.module, wanted.module)
        imported = {
            alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and _is_from(node, module, repository.is_package)
            for alias in node.names
        }
        names = tuple(name for name in wanted.names if name not in imported)
        if names and "*" not in imported:
            yield replace(wanted, names=names)


def _is_from(node: ast.ImportFrom, module: str, is_package: bool) -> bool:
    if not is_package:
        return node.level == 0 and node.module == module
    if node.level == 1:
        return node.module == module
    return node.level == 0 and (node.module or "").endswith(f".{module}")


def _misses_definitions(option: Option, tree: ast.Module) -> bool:
    wanted = ast.parse(option.definitions)
    services = services_in(wanted)
    if services:
        return not set(services) <= set(services_in(tree))
    present = list(_parameters(tree))
    return any(not any(names <= those for those in present) for names in _parameters(wanted))


def _parameters(tree: ast.Module) -> Iterator[set[str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield {argument.arg for argument in node.args.args}


def missing_tests(option: Option, run: PytestRun, proposals: Sequence[str]) -> CannotRunError:
    """Say that no test is served by an option, and what is."""
    found = f" Services were found here: {'; '.join(proposals)}." if proposals else ""
    return CannotRunError(
        f"this option is for {option.serves}, and none of the {len(run.tests)} tests here does."
        f"{found} Any service: --service package.module:Class --fixture NAME; --option 3 is for "
        "suites that make their clients without fixtures, --option 2 for the executors alone"
    )
