"""The matrix: a user's repository in every Python, pytest and paho-mqtt that the modules are for.

`make matrix` runs every combination of those that exists, and spreads import modes, layouts and
plugins over them so that every pair of values meets in a cell somewhere. `.ci/run` runs the
corners. What a cell is made of and what must hold there says tests/adoption/test_drop_in.py.

`make neighbours` runs a suite beside each tracer, mock and plugin of tests/helpers/neighbours.py,
and `.ci/run` beside the most common ones.

`make matrix ARGS="--session leaks"` runs the suite of tests/leaks, which leaks everything, on the
oldest Python, the newest and one in between.

`make matrix ARGS="--session asyncio"` runs the suites of tests/asyncio_suites on every Python that
the modules are for, with the newest pytest-asyncio, anyio and clients that there are for it.

`make matrix ARGS="--session page"` looks at the page that verify_speedup writes in a headless
Chromium, if there is one, with axe; `make matrix ARGS="--session page -- REPORT.html docs"` takes
the pictures of the documentation, too.

`make matrix ARGS="--session settings"` runs linters and tools with the settings that
docs/adopting.md prints, in a user's repository.

"newest" is what requirements-dev.txt pins. Where pip reaches its index and uv does not:
`make matrix ARGS="--force-venv-backend virtualenv"`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nox

sys.path.append(str(Path(__file__).with_name("tests")))
from helpers.browser import INSTALL, chromium
from helpers.neighbours import NEIGHBOURS, Neighbour

LOCK = Path(__file__).with_name("requirements-dev.txt")

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
LEAKING = ("3.9", "3.11", "3.13")
ABSENT = "it is neither on PATH nor in pyenv"


def locked(*packages: str) -> list[str]:
    """Return what the lock pins of some packages, with its conditions on the Python."""
    names = tuple(f"{package}==" for package in packages)
    return [line for line in LOCK.read_text().splitlines() if line.startswith(names)]


# With each pytest the newest plugins that take it.
PYTESTS = {
    "7.4": ["pytest==7.4.4", "pytest-asyncio==0.23.8", "pytest-randomly==4.0.1"],
    "8.4": ["pytest==8.4.2", *locked("pytest-asyncio", "pytest-randomly")],
    "newest": locked("pytest", "pytest-asyncio", "pytest-randomly"),
}
ANY_PYTEST = locked("pytest-timeout", "pytest-xdist")

ASYNCIO = ("anyio", "aiomqtt", "amqtt")

# Beside ruff, flake8 and mypy, which the lock has; the newest, which Python 3.9 does without.
TOOLS = [
    f"{tool}; python_version >= '3.10'"
    for tool in (
        *("black==26.10.1", "coverage==7.17.5", "flake8-docstrings==1.7.0", "isort==9.0.2"),
        *("pre-commit==4.7.0", "pylint==4.1.4"),
    )
]

PAHOS = {
    "1.6": ["paho-mqtt==1.6.1"],
    "2.0": ["paho-mqtt==2.0.0"],
    "newest": locked("paho-mqtt"),
}

# What cannot be installed, as tried; all the rest can, pytest 7.4 and paho-mqtt 1.6 on Python 3.13
# included.
NOT_FOR = {
    "3.9": {"pytest newest"},  # pytest 9 needs Python 3.10; the newest without it is 8.4
}

MODES = ("prepend", "append", "importlib")

PLUGINS = {
    "no plugins": (),
    "xdist": ("xdist",),
    "randomly": ("randomly",),
    "timeout": ("timeout",),
    "asyncio": ("asyncio",),
    "all plugins": ("xdist", "randomly", "timeout", "asyncio"),
}


class Environment(NamedTuple):
    """What is installed; the keys of the tables above."""

    python: str
    pytest: str
    paho: str

    def __str__(self) -> str:
        return f"Python {self.python}, pytest {self.pytest}, paho {self.paho}"


class Layout(NamedTuple):
    """How a repository is laid out, and what it runs its tests with."""

    mode: str
    package: bool
    plugins: str

    def __str__(self) -> str:
        return f"{self.mode}, {'package' if self.package else 'folder'}, {self.plugins}"


class Cell(NamedTuple):
    """A repository in an environment."""

    environment: Environment
    layout: Layout

    @property
    def combinations(self) -> set[tuple[object, ...]]:
        """Every two values that meet here, and the environment and the layout as a whole."""
        values = enumerate((*self.environment, *self.layout))
        return {self.environment, self.layout, *itertools.combinations(values, 2)}


def pytests_for(python: str) -> list[str]:
    """Return the pytests that there are for a Python, the oldest first."""
    return [pytest for pytest in PYTESTS if f"pytest {pytest}" not in NOT_FOR.get(python, ())]


def possible_cells(pythons: Sequence[str]) -> dict[Environment, list[Cell]]:
    """Return all that can be, by environment."""
    layouts = list(itertools.starmap(Layout, itertools.product(MODES, (False, True), PLUGINS)))
    environments = [
        Environment(python, pytest, paho)
        for python in pythons
        for pytest in pytests_for(python)
        for paho in PAHOS
    ]
    return {e: [Cell(e, layout) for layout in layouts] for e in environments}


def plan_matrix(pythons: Sequence[str]) -> Iterator[Cell]:
    """Give cells until every combination has been met: for each environment the one with most."""
    possible = possible_cells(pythons)
    missing = {c for cells in possible.values() for cell in cells for c in cell.combinations}
    while missing:
        for cells in possible.values():
            cell = max(cells, key=lambda cell: len(cell.combinations & missing))
            if cell.combinations & missing:
                missing -= cell.combinations
                yield cell


def plan_corners(pythons: Sequence[str]) -> Iterator[Cell]:
    """Give the oldest of everything, the newest of everything, and a few in between."""
    oldest, newest = pythons[0], pythons[-1]
    newest_pytest = pytests_for(newest)[-1]
    yield Cell(Environment(oldest, "7.4", "1.6"), Layout("prepend", False, "no plugins"))
    yield Cell(Environment(oldest, "8.4", "2.0"), Layout("importlib", False, "xdist"))
    yield Cell(Environment(oldest, "7.4", "newest"), Layout("importlib", True, "all plugins"))
    yield Cell(Environment(newest, "7.4", "1.6"), Layout("append", True, "asyncio"))
    yield Cell(Environment(newest, newest_pytest, "1.6"), Layout("append", False, "randomly"))
    yield Cell(Environment(newest, newest_pytest, "newest"), Layout("prepend", True, "all plugins"))


def find_pythons() -> dict[str, str]:
    """Return the Pythons that are here, pyenv's first: its shims find only those it is set to.

    Where there is none of them, it is the one that we run on.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    ours = Path(sys.executable).resolve().parent
    folders = [
        *(str(folder) for python in PYTHONS for folder in pyenv.glob(f"{python}.*/bin")),
        os.environ.get("PATH", os.defpath),
        str(ours),
    ]
    paths = {p: shutil.which(f"python{p}", path=os.pathsep.join(folders)) for p in PYTHONS}
    found = {python: path for python, path in paths.items() if path}
    return found or {"{}.{}".format(*sys.version_info): sys.executable}


# --- The sessions -------------------------------------------------------------------------------

nox.options.sessions = ["matrix", "prereleases"]
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
for option, value in {"parallel": "auto", "allow_parallel": True}.items():
    if hasattr(nox.options, option):  # the nox for Python 3.9 has neither
        setattr(nox.options, option, value)

HERE = find_pythons()
NEWEST = list(HERE.values())[-1]

Session = Callable[[nox.Session, Sequence[Cell]], None]


def by_environment(cells: Iterable[Cell]) -> Callable[[Session], Session]:
    """Make of each environment a session of its own, whose virtual environment is kept."""
    together: dict[Environment, list[Cell]] = {}
    for cell in cells:
        together.setdefault(cell.environment, []).append(cell)
    present = [
        nox.param(HERE[environment.python], own, id=str(environment))
        for environment, own in together.items()
    ]
    absent = [nox.param(False, [], id=f"Python {p}") for p in PYTHONS if p not in HERE]
    return nox.parametrize("python, cells", present + absent)


@nox.session
@by_environment(plan_matrix(list(HERE)))
def matrix(session: nox.Session, cells: Sequence[Cell]) -> None:
    """Run every environment, and layouts and plugins pairwise."""
    check(session, cells)


@nox.session
@by_environment(plan_corners(list(HERE)))
def corners(session: nox.Session, cells: Sequence[Cell]) -> None:
    """Run the oldest and the newest of everything, and a few more."""
    check(session, cells)


@nox.session(python=NEWEST)
def prereleases(session: nox.Session) -> None:
    """Run what is to come of pytest and paho-mqtt: a warning in time, which may fail."""
    session.install("--pre", "pytest", "paho-mqtt", "pytest-xdist", log=False)
    try:
        run_cell(session, Layout("prepend", False, "xdist"))
    except nox.command.CommandFailed:
        session.warn("what is to come of pytest or paho-mqtt does not work yet")


def by_packages(neighbours: Iterable[Neighbour]) -> list[Any]:
    """Return a parameter for each environment that neighbours need, with their names."""
    sharing: dict[tuple[str, str], list[Neighbour]] = {}
    for neighbour in neighbours:
        sharing.setdefault((neighbour.packages, neighbour.install), []).append(neighbour)
    return [
        nox.param(
            *environment,
            [neighbour.name for neighbour in group],
            id=environment[1] or environment[0],
            tags=["common"] if any(neighbour.common for neighbour in group) else [],
        )
        for environment, group in sharing.items()
    ]


@nox.session(python=NEWEST)
@nox.parametrize("packages, install, names", by_packages(NEIGHBOURS))
def neighbours(session: nox.Session, packages: str, install: str, names: Sequence[str]) -> None:
    """Install some neighbours where they have to be, and run the suite beside each."""
    python, variables = str(Path(session.bin, "python")), {}
    wanted, paho = [*locked("pytest"), *install.split()], locked("paho-mqtt")
    elsewhere = str(Path(session.create_tmp(), "packages").resolve())
    command = [python]
    if packages == "venv":
        wanted += paho
    elif packages == "uv's cache":
        with_all = [f"--with={requirement}" for requirement in (*wanted, *paho)]
        command = [sys.executable, "-m", "uv", "run", "--no-project", f"--python={python}"]
        command += [*with_all, "python"]
        variables["HOME"] = str(Path.home())  # where the cache is
    elif packages == "user site":
        command, variables["PYTHONUSERBASE"] = [NEWEST], elsewhere
        folder = f"lib/python{list(HERE)[-1]}/site-packages"
        session.install("--target", str(Path(elsewhere, folder)), *wanted, *paho, log=False)
    else:
        session.install("--target", elsewhere, *paho, log=False)
        variables["PYTHONPATH"] = elsewhere
        if packages == "zip":
            variables["PYTHONPATH"] = shutil.make_archive(elsewhere, "zip", elsewhere)
    session.install(*wanted, env={"UV_COMPILE_BYTECODE": "1"}, log=False)
    beside = {"python": command, "variables": variables, "names": list(names)}
    run_tests(session, "tests/neighbours/test_neighbours.py", NEIGHBOURS=beside)


@nox.session
@nox.parametrize("python", [nox.param(HERE.get(p, False), id=f"Python {p}") for p in LEAKING])
def leaks(session: nox.Session) -> None:
    """Run a suite that leaks everything, and give it every ending."""
    if not session.python:
        session.skip(ABSENT)
    requirements = locked("pytest", "paho-mqtt", "pytest-xdist")
    session.install(*requirements, env={"UV_COMPILE_BYTECODE": "1"}, log=False)
    run_tests(session, "tests/leaks", LEAKS={"python": str(Path(session.bin, "python"))})


@nox.session(name="asyncio")
@nox.parametrize("python", [nox.param(HERE.get(p, False), id=f"Python {p}") for p in PYTHONS])
def asyncio_suites(session: nox.Session) -> None:
    """Run asyncio services and suites, in the Python that is asked about, under all plugins."""
    if not session.python:
        session.skip(ABSENT)
    requirements = locked("pytest", "pytest-xdist", "pytest-asyncio", "paho-mqtt", *ASYNCIO)
    session.install(*requirements, "gmqtt", env={"UV_COMPILE_BYTECODE": "1"}, log=False)
    arguments = session.posargs or ["-n", "2", "--dist", "worksteal"]
    session.run(
        *("python", "-m", "pytest", "--tb=short", "-p", "no:cacheprovider"),
        *(*arguments, "tests/asyncio_suites"),
    )


@nox.session
def page(session: nox.Session) -> None:
    """Look at the page of verify_speedup in a browser; take pictures of one that is named."""
    if chromium() is None:
        session.skip(INSTALL)
    packages = ("pytest", "pytest-asyncio", "paho-mqtt", "jinja2", "matplotlib", "rich")
    session.install(*locked(*packages), "playwright", "axe-playwright-python", log=False)
    options = ("--tb=short", "-p", "no:cacheprovider", "-m", "slow")
    session.run("python", "-m", "pytest", *options, "tests/scripts/test_page_in_browser.py")
    if session.posargs:
        session.run("python", "tests/helpers/browser.py", *session.posargs)


@nox.session(python=NEWEST)
def settings(session: nox.Session) -> None:
    """Run tools with the settings that the documentation prints."""
    packages = ("pytest", "pytest-asyncio", "paho-mqtt", "libcst", "ruff", "flake8", "mypy")
    session.install(*locked(*packages), *TOOLS, log=False)
    options = session.posargs or ["--tb=short", "-p", "no:cacheprovider"]
    session.run("python", "-m", "pytest", *options, "tests/adoption/test_settings.py")


def check(session: nox.Session, cells: Sequence[Cell]) -> None:
    """Install an environment, and run its cells."""
    if not cells:
        session.skip(ABSENT)
    environment = cells[0].environment
    requirements = [*PYTESTS[environment.pytest], *ANY_PYTEST, *PAHOS[environment.paho]]
    # A second here saves three in the runs, some of which leave no files behind.
    session.install(*requirements, env={"UV_COMPILE_BYTECODE": "1"}, log=False)
    for _, layout in cells:
        run_cell(session, layout)


def run_cell(session: nox.Session, layout: Layout) -> None:
    """Run a user's repository in what is installed."""
    session.log(str(layout))
    description = {
        "python": str(Path(session.bin, "python")),
        "mode": layout.mode,
        "package": layout.package,
        "plugins": PLUGINS[layout.plugins],
    }
    run_tests(session, "tests/adoption/test_drop_in.py", DROP_IN_CELL=description)


def run_tests(session: nox.Session, path: str, **descriptions: object) -> None:
    """Run some tests of this repository, and tell them what is installed."""
    session.run(
        *(sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider", path),
        env={name: json.dumps(description) for name, description in descriptions.items()},
        external=True,
        silent=True,
        log=False,
    )
