"""Where the test files define what they name: functions, methods, fixtures."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from .finding import Finding
from .parsing import Function, Module, called_name, unparsed
from .programs import BROKER_NAME
from .sources import (
    OUR_MODULES,
    SIGN_OF_OURS,
    is_below_the_tests,
    is_of_the_tests,
    is_vendored,
    python_files,
    read_source,
)

_OWN = ("self", "cls", "super()")
_BUILDERS = {"__init__", "__new__", "__post_init__", "__enter__", "__aenter__"}


class Definitions:
    """The test files of a repository, and what they define."""

    def __init__(self, repo: Path, tests: Path) -> None:
        self.repo = repo
        self._tests = tests
        self._files = {_dotted(path): path for path in python_files(repo)}
        self._parsed: dict[Path, Module | None] = {}
        self.unreadable: list[Finding] = []
        self.modules: list[Module] = []
        self.ours: list[Module] = []
        for path in filter(self._is_of_the_tests, self._files.values()):
            module = self._parse(path)
            if module is not None:
                (self.ours if self._is_ours(module) else self.modules).append(module)
        self._named: dict[tuple[str, Path], Module | None] = {}
        self._calls: dict[ast.Call, list[Function]] = {}
        self._used: dict[Module, set[tuple[str, str]]] = {}

    def _is_of_the_tests(self, path: Path) -> bool:
        if is_vendored(self.repo, path):
            return False
        return is_of_the_tests(path, self._tests) or self._is_a_helper_further_down(path)

    def _is_a_helper_further_down(self, path: Path) -> bool:
        """Say so of a file deep in the tests that starts brokers: no software of theirs does."""
        if not is_below_the_tests(path, self._tests):
            return False
        text = (self.repo / path).read_text(errors="replace")
        return bool(BROKER_NAME.search(text) and re.search(r"\bsubprocess\b|\bos\.system\b", text))

    def _parse(self, path: Path) -> Module | None:
        if path not in self._parsed:
            self._parsed[path] = None  # while it is parsed, for files that import each other
            try:
                self._parsed[path] = Module(path, *read_source(self.repo / path))
            except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
                self._note_unreadable(path, error)
        return self._parsed[path]

    def _note_unreadable(self, path: Path, error: Exception) -> None:
        if self._is_of_the_tests(path):
            line = getattr(error, "lineno", None) or 1
            reason = getattr(error, "msg", None) or str(error) or type(error).__name__
            what = f"cannot be read as Python: {reason}".partition("\n")[0]
            remedy = "have it parse, and scan again"
            self.unreadable.append(Finding(path, line, "unreadable", what, remedy, False))

    @staticmethod
    def _is_ours(module: Module) -> bool:
        text = "\n".join(module.lines)
        return module.path.stem in OUR_MODULES and bool(SIGN_OF_OURS.search(text))

    @functools.cached_property
    def everything(self) -> list[Module]:
        """The files of the repository, its software too; not ours, nor copies of others."""
        own = (path for path in self._files.values() if not is_vendored(self.repo, path))
        parsed = filter(None, map(self._parse, own))
        return [module for module in parsed if module not in self.ours]

    def is_package(self, folder: Path) -> bool:
        """Say whether the files in *folder* import each other with a dot."""
        return (self.repo / folder / "__init__.py").is_file()

    def module_named(self, dotted: str, near: Path) -> Module | None:
        """Find a file by the end of its path: it is not known what `sys.path` will be."""
        key = (dotted, near.parent)
        if key not in self._named:
            self._named[key] = self._search_module(dotted, near)
        return self._named[key]

    def _search_module(self, dotted: str, near: Path) -> Module | None:
        candidates = [
            path
            for name, path in self._files.items()
            if dotted and (name == dotted or name.endswith(f".{dotted}"))
        ]
        candidates.sort(key=lambda path: (path.parent != near.parent, len(path.parts)))
        return self._parse(candidates[0]) if candidates else None

    def names_used_elsewhere(self, module: Module) -> set[str]:
        """Return the names that other test files get from *module*; an asterisk is all."""
        home = _short_name(module)
        others = (other for other in self.modules if other is not module)
        return {name for other in others for place, name in self._used_in(other) if place == home}

    def _used_in(self, module: Module) -> set[tuple[str, str]]:
        """Return what *module* imports, or gets by an attribute: the file and the name."""
        if module not in self._used:
            nodes = (node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute))
            got = (f"{module.resolve(node.value)}.{node.attr}" for node in nodes)
            parts = [name.split(".") for name in (*module.imports.values(), *got)]
            self._used[module] = {(part[-2], part[-1]) for part in parts if len(part) > 1}
        return self._used[module]

    def defined(
        self, module: Module, dotted: str, depth: int = 3
    ) -> tuple[Module, Function | ast.ClassDef] | None:
        """Find the function or class of a dotted name, as it reads in *module*."""
        place, _, name = dotted.rpartition(".")
        home = module if not place else self.module_named(place, module.path)
        if home is None or depth == 0:
            return None
        definition = home.classes.get(name) or home.function(name)
        if definition is not None:
            return home, definition
        imported = home.imports.get(name)
        return self.defined(home, imported, depth - 1) if imported else None

    def called(self, function: Function, call: ast.Call) -> list[Function]:
        """Return the functions of the test files that *call* runs, as far as that is plain."""
        if call not in self._calls:
            self._calls[call] = self._search_called(function, call)
        return self._calls[call]

    def _search_called(self, function: Function, call: ast.Call) -> list[Function]:
        module, target = function.module, call.func
        if isinstance(target, ast.Attribute) and unparsed(target.value) in _OWN:
            return self._methods(module, function.owner, target.attr)
        found = self.defined(module, module.resolve(target))
        if found is None and isinstance(target, ast.Attribute):
            owner = self._class_of(function, target.value)
            return self._methods(*owner, target.attr) if owner else []
        if found is None or found[0] not in self.modules:
            return []
        home, definition = found
        if isinstance(definition, ast.ClassDef):
            return [f for f in home.functions if f.owner is definition and not f.is_test]
        return [definition]

    def run_by(self, function: Function, call: ast.Call) -> list[Function]:
        """Return the functions that *call* runs itself: of a class, its constructor only.

        What else a class can do counts for `called`, which asks what comes of it.
        """
        helpers = self.called(function, call)
        name = function.module.resolve(call.func).rpartition(".")[2]
        return [f for f in helpers if not f.owner or f.owner.name != name or f.name in _BUILDERS]

    def _class_of(
        self, function: Function, node: ast.expr, depth: int = 3
    ) -> tuple[Module, ast.ClassDef] | None:
        """Find the class that *node* is, or is an instance of."""
        module, text = function.module, unparsed(node)
        if isinstance(node, (ast.Call, ast.Await)):
            inner = node.func if isinstance(node, ast.Call) else node.value
            return self._class_of(function, inner, depth)
        found = self.defined(module, module.resolve(node))
        if found and isinstance(found[1], ast.ClassDef):
            return found[0], found[1]
        if depth == 0 or not isinstance(node, (ast.Name, ast.Attribute)):
            return None
        siblings = (f for f in module.functions if function.owner and f.owner is function.owner)
        for place in siblings if isinstance(node, ast.Attribute) else [function]:
            for value in place.bound.get(text, ()):
                return self._class_of(place, value, depth - 1)
        if isinstance(node, ast.Name) and node.id in function.params:
            return self._class_given_by(self._fixture(function, node.id), depth - 1)
        return None

    def _class_given_by(
        self, fixture: Function | None, depth: int
    ) -> tuple[Module, ast.ClassDef] | None:
        """Find the class of what a fixture returns or yields."""
        if fixture is None or fixture.module not in self.modules:
            return None
        given = (n.value for n in fixture.own_nodes if isinstance(n, (ast.Return, ast.Yield)))
        found = (self._class_of(fixture, value, depth) for value in given if value is not None)
        return next(filter(None, found), None)

    def has_program(self, name: str) -> bool:
        """Say whether a module or script that Python is to run is one of the repository."""
        script = re.search(r"[\w.-]+\.py\b", name)
        if script:
            return any(path.name == script.group() for path in self._files.values())
        dotted = {name, f"{name}.__main__"} - {"", ".__main__"}
        return any(f".{file}".endswith(f".{name}") for name in dotted for file in self._files)

    def _methods(self, module: Module, owner: ast.ClassDef | None, name: str) -> list[Function]:
        """Find a method in a class or, if it is not there, in its bases."""
        if owner is None:
            return []
        method = module.function(name, owner)
        if method is not None:
            return [method] if module in self.modules else []
        for base in owner.bases:
            found = self.defined(module, module.resolve(base))
            if found and isinstance(found[1], ast.ClassDef) and found[1] is not owner:
                return self._methods(found[0], found[1], name)
        return []

    def _fixture(self, function: Function, name: str) -> Function | None:
        """Find the fixture that *function* gets for a parameter, as pytest would."""
        module = function.module
        folders = module.path.parents
        conftests = [m for m in self.modules if m.path.name == "conftest.py"]
        above = [m for folder in folders for m in conftests if m.path.parent == folder]
        for place in (module, *above):
            for candidate in place.functions:
                is_fixture = candidate.fixture_scope and candidate is not function
                if is_fixture and candidate.fixture_name == name:
                    return candidate
            found = self.defined(place, place.imports.get(name, ""))
            if found and isinstance(found[1], Function) and found[1].fixture_scope:
                return found[1]
        return None

    def fixtures(self) -> Iterator[Function]:
        """Yield the fixtures that the test files define."""
        for module in self.modules:
            yield from (f for f in module.functions if f.fixture_scope is not None)

    def is_overridden(self, name: str) -> bool:
        """Say whether `override_fixture(name, ...)` is called anywhere."""
        return name in self._overridden

    @functools.cached_property
    def _overridden(self) -> dict[str, str]:
        calls = [(m, n) for m in self.modules for n in ast.walk(m.tree) if isinstance(n, ast.Call)]
        return {
            name: unparsed(call.args[1])
            for module, call in calls
            if called_name(call) == "override_fixture" and len(call.args) > 1
            for name in filter(None, [module.string(call.args[0])])
        }

    def is_camera_detector(self, function: Function, name: str) -> bool:
        """Say whether a parameter is the fixture that `camera_detector_fast` takes the place of."""
        if name not in function.params or function.is_in_test_case:
            return False
        if name in ("camera_detector", "camera_detector_fast"):
            return True
        return self._overridden.get(name) == "camera_detector_fast"

    def stays_slow(self, function: Function, name: str) -> bool:
        """Say whether `override_fixture` refuses to replace the fixture that *function* gets.

        It says why as the tests are collected. What asks for the fast fixture is none to replace.
        """
        slow = self._fixture(function, name)
        if slow is None or "camera_detector_fast" in slow.params:
            return False
        return slow.is_irreplaceable_fixture or self._serves_a_wider_fixture(function, name)

    def _serves_a_wider_fixture(self, function: Function, name: str) -> bool:
        folders = function.module.path.parents
        conftests = (m for m in self.modules if m.path.name == "conftest.py")
        seen = [function.module, *(m for m in conftests if m.path.parent in folders)]
        users = (f for module in seen for f in module.functions if name in f.params)
        return any(user.fixture_scope not in (None, "function") for user in users)

    def is_our_fixture(self, function: Function, name: str) -> bool:
        """Say whether a parameter is a fixture that the test files do not define themselves."""
        if name not in function.params or function.is_in_test_case:
            return False
        fixture = self._fixture(function, name)
        return fixture is None or fixture.module not in self.modules


def _short_name(module: Module) -> str:
    return _dotted(module.path).rpartition(".")[2]


def _dotted(path: PurePath) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
