"""Finds where a test suite does by hand what the modules do: waits, brokers, clients, imports.

Needs the standard library only, and runs nothing of what it reads::

    for finding in scan(Path("~/thermostat").expanduser()):
        print(finding.path, finding.line, finding.what, finding.replacement)

What makes a wait one *for the service*, and not for a clock or a thread pool, is what the test
looks at afterwards. So names are followed: a name is live if its value comes from an MQTT client, a
broker, a class of the repository that uses MQTT, or a fixture or helper that makes one of them, or
if an MQTT callback writes to it.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import io
import itertools
import os
import re
import textwrap
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from typing_extensions import TypeGuard


@dataclass(frozen=True)
class Finding:
    """A place in a test suite, what it does by hand, and what to write instead."""

    path: Path
    """Relative to the repository."""
    line: int
    kind: str
    what: str
    replacement: str
    certain: bool
    """Whether `fix` rewrites it."""


class Rewrite(NamedTuple):
    """A wait that can be replaced for certain: the statement that begins at *line*."""

    line: int
    statements: tuple[str, ...]


def scan(repo: Path) -> list[Finding]:
    """Return what is found in the test files and conftests of *repo*, by path and line."""
    suite = _Suite(repo)
    found = list(suite.unreadable)
    for module in suite.modules:
        for check in _CHECKS:
            found += check(suite, module)
    return _in_order(found)


def commented_leftovers(repo: Path) -> list[Finding]:
    """Return the imports, fixtures and sleeps that are still there, but commented out."""
    suite = _Suite(repo)
    return _in_order(finding for module in suite.modules for finding in _leftovers(module))


def rewrites(repo: Path) -> dict[Path, list[Rewrite]]:
    """Return the waits whose replacement is certain, by the files that they are in."""
    suite = _Suite(repo)
    planned = {m.path: [w.rewrite for w in _waits(suite, m) if w.rewrite] for m in suite.modules}
    return {path: some for path, some in planned.items() if some}


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(set(findings), key=lambda f: (f.path, f.line, f.kind, f.what))


# --- Which files ------------------------------------------------------------------------------

OUR_MODULES = {
    "mqtt_test_broker",
    "shared_mqtt_pool",
    "concurrent_futures_fix",
    "optimized_service_fixture",
    "camera_detector_optimized_fixture",
}
_SIGN_OF_OURS = re.compile(
    r"^(register_with_pytest\(__name__\)|class ConcurrentFuturesFix\b)", re.M
)
_SKIPPED_FOLDERS = {"venv", "env", "node_modules", "build", "dist", "site-packages", "__pycache__"}
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


def _python_files(repo: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(repo):
        subfolders[:] = [name for name in sorted(subfolders) if not _is_skipped(Path(folder, name))]
        yield from (Path(folder, name).relative_to(repo) for name in files if name.endswith(".py"))


def _is_skipped(folder: Path) -> bool:
    name = folder.name
    return (
        name in _SKIPPED_FOLDERS
        or name.startswith(".")
        or name.endswith(".egg-info")
        or (folder / "pyvenv.cfg").exists()
    )


def _is_of_the_tests(path: Path) -> bool:
    """Say so of test files and conftests, and of what lies beside them or one folder below.

    What lies deeper in a folder of tests is software that they use, like what lies outside of it.
    """
    if _TEST_FILE.fullmatch(path.name):
        return True
    return any(_TEST_FOLDER.fullmatch(folder) for folder in path.parts[-3:-1])


# --- What is in a file ------------------------------------------------------------------------

_FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.While, ast.For, ast.AsyncFor)

_MQTT_PACKAGES = {"paho", "aiomqtt", "asyncio_mqtt", "gmqtt", "hbmqtt", "amqtt", "flask_mqtt"}
_MQTT_CLIENTS = {
    "paho.mqtt.client.Client",
    "aiomqtt.Client",
    "asyncio_mqtt.Client",
    "gmqtt.Client",
    "gmqtt.client.Client",
    "hbmqtt.client.MQTTClient",
    "amqtt.client.MQTTClient",
}
_PAHO_CLIENT = "paho.mqtt.client.Client"
_SET_UP = {"setUp", "asyncSetUp", "setup_method"}
_SET_UP_ONCE = {"setUpClass", "setup_class", "setUpModule", "setup_module"}


class _Module:
    """A file that was parsed, and the names that it defines and imports."""

    def __init__(self, path: Path, text: str, encoding: str) -> None:
        self.path = path
        self.lines = re.split(r"\r\n|\r|\n", text)
        # The two kinds of line end that are kept as they are.
        self.is_rewritable = encoding in ("utf-8", "utf-8-sig") and not re.search(r"\r(?!\n)", text)
        self.tree = ast.parse(text[1:] if text.startswith("\ufeff") else text)
        self.imports = dict(_imported_names(self.tree, path))
        self.classes = {n.name: n for n in self.tree.body if isinstance(n, ast.ClassDef)}
        self.top_level = _Function(self, self.tree, None)
        self.functions = [self.top_level]
        self.functions += [_Function(self, node, None) for node in _functions_in(self.tree)]
        for owner in self.classes.values():
            self.functions += [_Function(self, node, owner) for node in _functions_in(owner)]

    @property
    def knows_mqtt(self) -> bool:
        """Whether it imports an MQTT library, or one of our modules."""
        roots = {part for name in self.imports.values() for part in name.split(".")}
        return bool(roots & (_MQTT_PACKAGES | OUR_MODULES))

    def function(self, name: str, owner: ast.ClassDef | None = None) -> _Function | None:
        found = (f for f in self.functions if f.name == name and f.owner is owner)
        return next(found, None)

    def resolve(self, node: ast.expr) -> str:
        """Return the dotted name that an expression is, in terms of what is imported."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self.resolve(node.value)}.{node.attr}"
        return ""

    def string(self, node: ast.expr | None) -> str | None:
        """Return the string that an expression is, or that a constant of this name is."""
        if isinstance(node, ast.Name):
            for statement in self.tree.body:
                if isinstance(statement, ast.Assign) and node.id in map(_text, statement.targets):
                    return self.string(statement.value)
        value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        return value if isinstance(value, str) else None


def _functions_in(node: ast.Module | ast.ClassDef) -> Iterator[_FunctionNode]:
    """Yield its functions, also those in an `if` or `try`."""
    for statement in node.body:
        for inner in _walk_own(statement) if not isinstance(statement, _FUNCTIONS) else [statement]:
            if isinstance(inner, _FUNCTIONS):
                yield inner


def _imported_names(tree: ast.Module, path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or name, name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.parts[: len(path.parts) - node.level]) if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                yield alias.asname or alias.name, f"{source}.{alias.name}"


class _Function:
    """A function of a file, or what the file does as it is imported."""

    def __init__(
        self, module: _Module, node: _FunctionNode | ast.Module, owner: ast.ClassDef | None
    ) -> None:
        self.module = module
        self.node = node
        self.owner = owner
        self.name = "" if isinstance(node, ast.Module) else node.name
        self.own_nodes = [n for statement in node.body for n in _walk_own(statement)]
        self.calls = [n for n in self.own_nodes if isinstance(n, ast.Call)]

    @functools.cached_property
    def params(self) -> list[str]:
        if isinstance(self.node, ast.Module):
            return []
        args = self.node.args
        return [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]

    @functools.cached_property
    def decorators(self) -> list[ast.expr]:
        return [] if isinstance(self.node, ast.Module) else self.node.decorator_list

    @functools.cached_property
    def fixture_scope(self) -> str | None:
        """Return the scope of the fixture that it is; None where it is none."""
        for decorator in self.decorators:
            function = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.module.resolve(function).rpartition(".")[2] == "fixture":
                scope = _keyword(decorator, "scope")
                return self.module.string(scope) or ("dynamic" if scope else "function")
        return None

    @functools.cached_property
    def fixture_name(self) -> str:
        """Return the name that the fixture is asked for by."""
        given = [self.module.string(_keyword(decorator, "name")) for decorator in self.decorators]
        return next(filter(None, given), self.name)

    @property
    def is_test(self) -> bool:
        return self.name.startswith("test") and self.fixture_scope is None

    @property
    def is_in_test_case(self) -> bool:
        bases = map(_text, self.owner.bases) if self.owner else []
        return any(base.endswith("TestCase") for base in bases)

    @property
    def title(self) -> str:
        if not self.name:
            return "the module itself"
        return f"{self.owner.name}.{self.name}()" if self.owner else f"{self.name}()"


def _walk_own(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the code that runs when *node* runs: the functions that it defines run later."""
    yield node
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        return
    for child in ast.iter_child_nodes(node):
        yield from _walk_own(child)


def _keyword(node: ast.expr, name: str) -> ast.expr | None:
    keywords = node.keywords if isinstance(node, ast.Call) else []
    return next((keyword.value for keyword in keywords if keyword.arg == name), None)


@functools.cache
def _text(node: ast.AST) -> str:
    return ast.unparse(node)


def _attribute(call: ast.Call) -> str:
    """Return the last part of the name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else _text(call.func)


def _strings(node: ast.AST) -> list[str]:
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return [value for value in constants if isinstance(value, str)]


# --- What is live -----------------------------------------------------------------------------

_LIVE_NAME = re.compile(r"mqtt|mosquitto|paho|camera_?detector", re.I)
_BROKER_BINARY = re.compile(
    r"mosquitto(?!_(pub|sub|passwd|rr))|\b(emqx|hivemq|vernemq|nanomq)\b", re.I
)
_BROKER_CLASS = re.compile(r"\w*(mqtt|mosquitto)\w*(broker|server|container)", re.I)
_STARTERS = re.compile(
    r"subprocess\.(Popen|run|call|check_call|check_output|getoutput)|os\.(system|popen|spawn\w+)"
    r"|asyncio\.(subprocess\.)?create_subprocess_(exec|shell)|.*\bcontainers\.run|pexpect\.spawn"
)
_CALLBACK = re.compile(
    r"_?on_(pre_)?(message|connect|disconnect|publish|subscribe|unsubscribe|log)"
)
_WRITERS = {"append", "appendleft", "add", "put", "put_nowait", "set", "update", "extend", "insert"}

_Scope = Union[_Function, ast.ClassDef, _Module]


class _Suite:
    """The test files of a repository, and what is live in them."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._files = {_dotted(path): path for path in _python_files(repo)}
        self._parsed: dict[Path, _Module | None] = {}
        self.unreadable: list[Finding] = []
        self.modules: list[_Module] = []
        for path in filter(_is_of_the_tests, self._files.values()):
            module = self._parse(path)
            if module is not None and not self._is_ours(module):
                self.modules.append(module)
        self.sleepers: dict[_Function, bool] = {}
        self._named: dict[tuple[str, Path], _Module | None] = {}
        self._calls: dict[ast.Call, list[_Function]] = {}
        self._live_calls: dict[ast.Call, bool] = {}
        self._live: defaultdict[_Scope, set[str]] = defaultdict(set)
        self._reaches: dict[tuple[_Function, str], ast.Call | None] = {}
        self._follow_names()

    def _parse(self, path: Path) -> _Module | None:
        if path not in self._parsed:
            self._parsed[path] = None  # while it is parsed, for files that import each other
            try:
                self._parsed[path] = _Module(path, *read_source(self._repo / path))
            except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
                self._note_unreadable(path, error)
        return self._parsed[path]

    def _note_unreadable(self, path: Path, error: Exception) -> None:
        if _is_of_the_tests(path):
            line = getattr(error, "lineno", None) or 1
            reason = getattr(error, "msg", None) or str(error) or type(error).__name__
            what = f"cannot be read as Python: {reason}".partition("\n")[0]
            remedy = "have it parse, and scan again"
            self.unreadable.append(Finding(path, line, "unreadable", what, remedy, False))

    @staticmethod
    def _is_ours(module: _Module) -> bool:
        text = "\n".join(module.lines)
        return module.path.stem in OUR_MODULES and bool(_SIGN_OF_OURS.search(text))

    # Definitions

    def _module_named(self, dotted: str, near: Path) -> _Module | None:
        """Find a file by the end of its path: nobody knows what `sys.path` will be."""
        key = (dotted, near.parent)
        if key not in self._named:
            self._named[key] = self._search_module(dotted, near)
        return self._named[key]

    def _search_module(self, dotted: str, near: Path) -> _Module | None:
        candidates = [
            path
            for name, path in self._files.items()
            if dotted and (name == dotted or name.endswith(f".{dotted}"))
        ]
        candidates.sort(key=lambda path: (path.parent != near.parent, len(path.parts)))
        return self._parse(candidates[0]) if candidates else None

    def defined(
        self, module: _Module, dotted: str, depth: int = 3
    ) -> tuple[_Module, _Function | ast.ClassDef] | None:
        """Find the function or class of a dotted name, as it reads in *module*."""
        place, _, name = dotted.rpartition(".")
        home = module if not place else self._module_named(place, module.path)
        if home is None or depth == 0:
            return None
        definition = home.classes.get(name) or home.function(name)
        if definition is not None:
            return home, definition
        imported = home.imports.get(name)
        return self.defined(home, imported, depth - 1) if imported else None

    def called(self, function: _Function, call: ast.Call) -> list[_Function]:
        """Return the functions of the test files that *call* runs, as far as that is plain."""
        if call not in self._calls:
            self._calls[call] = self._search_called(function, call)
        return self._calls[call]

    def _search_called(self, function: _Function, call: ast.Call) -> list[_Function]:
        module, target = function.module, call.func
        if isinstance(target, ast.Attribute) and _text(target.value) in ("self", "cls", "super()"):
            return self._methods(module, function.owner, target.attr)
        found = self.defined(module, module.resolve(target))
        if found is None and isinstance(target, ast.Attribute):
            owner = self.defined(module, module.resolve(target.value))
            if owner and isinstance(owner[1], ast.ClassDef):
                return self._methods(owner[0], owner[1], target.attr)
        if found is None or found[0] not in self.modules:
            return []
        home, definition = found
        if isinstance(definition, ast.ClassDef):
            return [f for f in home.functions if f.owner is definition and not f.is_test]
        return [definition]

    def _methods(self, module: _Module, owner: ast.ClassDef | None, name: str) -> list[_Function]:
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

    def _fixture(self, function: _Function, name: str) -> _Function | None:
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
            if found and isinstance(found[1], _Function) and found[1].fixture_scope:
                return found[1]
        return None

    def is_overridden(self, name: str) -> bool:
        """Say whether `override_fixture(name, ...)` is called anywhere."""
        return name in self._overridden

    @functools.cached_property
    def _overridden(self) -> dict[str, str]:
        calls = [(m, n) for m in self.modules for n in ast.walk(m.tree) if isinstance(n, ast.Call)]
        return {
            name: _text(call.args[1])
            for module, call in calls
            if _attribute(call) == "override_fixture" and len(call.args) > 1
            for name in filter(None, [module.string(call.args[0])])
        }

    def is_camera_detector(self, function: _Function, name: str) -> bool:
        """Say whether a parameter is the fixture that `camera_detector_fast` takes the place of."""
        if name not in function.params or function.is_in_test_case:
            return False
        if name in ("camera_detector", "camera_detector_fast"):
            return True
        return self._overridden.get(name) == "camera_detector_fast"

    def is_our_fixture(self, function: _Function, name: str) -> bool:
        """Say whether a parameter is a fixture that the test files do not define themselves."""
        if name not in function.params or function.is_in_test_case:
            return False
        fixture = self._fixture(function, name)
        return fixture is None or fixture.module not in self.modules

    # Brokers and clients

    def makes_client(self, function: _Function) -> ast.Call | None:
        """Return the call by which *function* makes a client of paho, itself or by a helper."""
        return self._first_call(function, "client")

    def starts_broker(self, function: _Function) -> ast.Call | None:
        """Return the call by which *function* starts a broker, itself or by a helper."""
        return self._first_call(function, "broker")

    def _first_call(self, function: _Function, kind: str) -> ast.Call | None:
        key = (function, kind)
        if key not in self._reaches:
            self._reaches[key] = None  # while we look, for functions that call each other
            self._reaches[key] = next(
                (call for call in function.calls if self._call_makes(function, call, kind)), None
            )
        return self._reaches[key]

    def _call_makes(self, function: _Function, call: ast.Call, kind: str) -> bool:
        if self.is_direct(function, call, kind):
            return True
        return any(self._first_call(helper, kind) for helper in self.called(function, call))

    def is_direct(self, function: _Function, call: ast.Call, kind: str) -> bool:
        """Say whether *call* itself makes a client or starts a broker, not a helper of ours."""
        if kind == "client":
            return self.is_paho(function.module, call.func)
        return self._is_broker(function, call)

    def is_paho(self, module: _Module, node: ast.expr) -> bool:
        name = module.resolve(node)
        if name == _PAHO_CLIENT:
            return True
        found = self.defined(module, name)
        if found is None or not isinstance(found[1], ast.ClassDef):
            return False
        return any(found[0].resolve(base) == _PAHO_CLIENT for base in found[1].bases)

    def _is_broker(self, function: _Function, call: ast.Call) -> bool:
        name = function.module.resolve(call.func)
        if _STARTERS.fullmatch(name):
            words = [_text(node) for node in (*call.args, *(k.value for k in call.keywords))]
            return any(_BROKER_BINARY.search(word) for word in self._with_values(function, words))
        last = name.rpartition(".")[2]
        if name in ("amqtt.broker.Broker", "hbmqtt.broker.Broker"):
            return True
        # A class that the tests define themselves is known by what it does.
        is_class = last[:1].isupper() and not self.called(function, call)
        return is_class and bool(_BROKER_CLASS.fullmatch(last))

    @staticmethod
    def _with_values(function: _Function, words: Sequence[str]) -> Iterator[str]:
        """Yield the arguments, and what was assigned to those that are mere names."""
        yield from words
        for node in (*function.own_nodes, *function.module.tree.body):
            if isinstance(node, ast.Assign) and any(_text(t) in words for t in node.targets):
                yield _text(node.value)

    # Live names

    def is_live(self, function: _Function, node: ast.AST) -> bool:
        """Say whether *node* mentions something live, as seen from *function*."""
        return any(self.is_live_node(function, inner) for inner in ast.walk(node))

    def is_live_node(self, function: _Function, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._live[function] or node.id in self._live[function.module]
        if isinstance(node, ast.Attribute) and _text(node.value) in ("self", "cls"):
            return function.owner is not None and node.attr in self._live[function.owner]
        if isinstance(node, ast.Call):
            if node not in self._live_calls:
                self._live_calls[node] = self._makes_something_live(function, node)
            return self._live_calls[node]
        return False

    def _makes_something_live(self, function: _Function, call: ast.Call) -> bool:
        if any(self._call_makes(function, call, kind) for kind in ("client", "broker")):
            return True
        name = function.module.resolve(call.func)
        return name in _MQTT_CLIENTS or self.is_service(function.module, name)

    def is_service(self, module: _Module, dotted: str) -> bool:
        """Say whether it is a class of the repository, outside its tests, that uses MQTT."""
        found = self.defined(module, dotted)
        if found is None or not isinstance(found[1], ast.ClassDef) or found[0] in self.modules:
            return False
        home = found[0]
        used = [self._module_named(n.rpartition(".")[0], home.path) for n in home.imports.values()]
        return home.knows_mqtt or any(other.knows_mqtt for other in used if other)

    def is_in_use(self, function: _Function) -> bool:
        """Say whether *function* has to do with anything live at all."""
        if any(self._live[function] & {param} for param in function.params):
            return True
        return any(self.is_live_node(function, node) for node in function.own_nodes)

    def _follow_names(self) -> None:
        functions = [function for module in self.modules for function in module.functions]
        for function in functions:
            self._note_callbacks(function)
        before = -1
        while before != (before := sum(map(len, self._live.values()))):
            for function in functions:
                self._follow_names_in(function)

    def _follow_names_in(self, function: _Function) -> None:
        for param in function.params:
            if self._is_live_param(function, param):
                self._live[function].add(param)
        for node in function.own_nodes:
            for target, value in _bindings(node):
                if self.is_live(function, value):
                    self._mark(function, target)
        for call in function.calls:
            for helper in self.called(function, call):
                self._follow_arguments(function, call, helper)

    def _is_live_param(self, function: _Function, name: str) -> bool:
        if function.fixture_scope is None and not function.is_test:
            return False
        if function.is_in_test_case or name in ("self", "cls", "request", "monkeypatch"):
            return False
        fixture = self._fixture(function, name)
        if fixture and fixture.module in self.modules and not self.is_overridden(name):
            live_parameters = self._live[fixture] & set(fixture.params)
            return bool(live_parameters) or self.is_in_use(fixture)
        names_one = _LIVE_NAME.search(name) or (function.module.knows_mqtt and "broker" in name)
        return bool(names_one) or self.is_overridden(name)

    def _follow_arguments(self, function: _Function, call: ast.Call, helper: _Function) -> None:
        params = helper.params[1:] if helper.params[:1] in (["self"], ["cls"]) else helper.params
        given = [*zip(params, call.args), *((k.arg, k.value) for k in call.keywords)]
        for param, value in given:
            if param in helper.params and self.is_live(function, value):
                self._live[helper].add(param)

    def _mark(self, function: _Function, target: ast.AST) -> None:
        if isinstance(target, ast.Name):
            self._live[self._scope_of(function, target.id)].add(target.id)
        elif isinstance(target, ast.Attribute) and _text(target.value) in ("self", "cls"):
            if function.owner is not None:
                self._live[function.owner].add(target.attr)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._mark(function, element)

    @staticmethod
    def _scope_of(function: _Function, name: str) -> _Scope:
        is_global = any(isinstance(n, ast.Global) and name in n.names for n in function.own_nodes)
        return function.module if is_global or not function.name else function

    def _note_callbacks(self, function: _Function) -> None:
        """Mark what MQTT callbacks write to: what a test looks at to see what has arrived."""
        if not function.module.knows_mqtt:
            return
        if _CALLBACK.fullmatch(function.name) and not function.is_test:
            self._note_written(function, function.node, nested=False)
        for statement in function.node.body:
            for node in ast.walk(statement):
                if isinstance(node, _FUNCTIONS) and _CALLBACK.fullmatch(node.name):
                    self._note_written(function, node, nested=True)
                for callback in _registered_callbacks(node):
                    self._note_callback(function, callback)

    def _note_callback(self, function: _Function, callback: ast.expr) -> None:
        if isinstance(callback, ast.Lambda):
            self._note_written(function, callback, nested=True)
        elif isinstance(callback, ast.Attribute) and function.owner is not None:
            for method in self._methods(function.module, function.owner, callback.attr):
                self._note_written(method, method.node, nested=False)
        elif isinstance(callback, ast.Name):
            named = [
                node
                for node in ast.walk(function.node)
                if isinstance(node, _FUNCTIONS) and node.name == callback.id
            ]
            for node in named:
                self._note_written(function, node, nested=True)
            other = function.module.function(callback.id)
            if other is not None and not named:
                self._note_written(other, other.node, nested=False)
            elif not named:
                self._mark(function, callback)  # a mock: it is what the test asks

    def _note_written(self, function: _Function, callback: ast.AST, *, nested: bool) -> None:
        """Mark the names that *callback* writes to and that are not its own."""
        own = {_text(target) for node in ast.walk(callback) for target, _ in _bindings(node)}
        declared = (ast.Global, ast.Nonlocal)
        shared = {n for d in ast.walk(callback) if isinstance(d, declared) for n in d.names}
        for node in ast.walk(callback):
            for written in _written(node):
                name = _text(written)
                if isinstance(written, ast.Name) and name not in own | shared:
                    self._live[function if nested else function.module].add(name)
                self._mark(function, written) if isinstance(written, ast.Attribute) else None
        self._live[function if nested else function.module] |= shared


def _dotted(path: PurePath) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the targets that *node* binds, each with what it gets its value from."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def _registered_callbacks(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and _CALLBACK.fullmatch(target.attr):
                yield node.value
    elif isinstance(node, ast.Call) and _attribute(node) == "message_callback_add":
        yield from node.args[1:2]


def _written(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what *node* changes: `X` in `X.append(...)`, `X[...] = ...` and `self.x = ...`."""
    func = node.func if isinstance(node, ast.Call) else None
    if isinstance(func, ast.Attribute) and func.attr in _WRITERS:
        yield func.value
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Subscript):
            yield target.value
        elif isinstance(target, ast.Attribute):
            yield target


# --- Waits ------------------------------------------------------------------------------------

_SLEEPS = {f"{library}.sleep" for library in ("time", "asyncio", "trio", "anyio", "gevent")}
_LOOKS = re.compile(r"_?(assert|check|verify|expect|wait_for)\w*")
_EXPLICIT = re.compile(r"\btest_run_\w+_once\b")

_NO_WAIT_FOR_A_BROKER = (
    "the fixture test_mqtt_broker (session_mqtt_broker in a wider scope): it answers when the "
    "test begins"
)
_NO_WAIT_IN_A_FIXTURE = (
    "no wait: override_fixture(name, service_fixture(...)) connects the service, runs its tasks "
    "when a test says so, and ends what it started"
)
_NO_WAIT_FOR_A_MESSAGE = (
    "mqtt_monitor.wait_for(topic), which returns as soon as the message is there, or "
    "mqtt_monitor.assert_none(topic)"
)


@dataclass(frozen=True)
class _Wait:
    """A statement that sleeps or polls, and where it stands."""

    function: _Function
    block: list[ast.stmt]
    index: int
    sleep: ast.Call
    """The call of `time.sleep`, or of the helper that calls it."""
    helper: str = ""
    looked_at: str = ""
    """The live name that the test looks at afterwards, where it is a test that waits."""
    rewrite: Rewrite | None = None

    @property
    def statement(self) -> ast.stmt:
        return self.block[self.index]


def _check_waits(suite: _Suite, module: _Module) -> Iterator[Finding]:
    for wait in _waits(suite, module):
        if wait.rewrite:
            replacement = "; ".join(wait.rewrite.statements)
        else:
            replacement = _suggestion(suite, wait)
        yield Finding(
            module.path,
            wait.sleep.lineno,
            "wait-for-background",
            _describe(wait),
            replacement,
            wait.rewrite is not None,
        )


def _describe(wait: _Wait) -> str:
    how = "polls for" if isinstance(wait.statement, _LOOPS) else "sleeps for"
    by = f" by {wait.helper}" if wait.helper else ""
    title = wait.function.title
    if wait.looked_at:
        return f"{title} {how} background work{by} before it looks at {wait.looked_at}"
    if wait.function.fixture_scope:
        return f"the fixture {wait.function.fixture_name} {how} a broker, client or service{by}"
    return f"{title} {how} a broker, client or service{by}, for all that call it"


def _suggestion(suite: _Suite, wait: _Wait) -> str:
    function = wait.function
    detectors = [p for p in function.params if suite.is_camera_detector(function, p)]
    if detectors and wait.looked_at:
        name = detectors[0]
        return (
            f"{name}.test_run_discovery_once() or {name}.test_run_health_check_once(), if it waits "
            f"for one of them; for a message, {_NO_WAIT_FOR_A_MESSAGE}"
        )
    if suite.starts_broker(function):
        return _NO_WAIT_FOR_A_BROKER
    if function.fixture_scope or function.name in _SET_UP | _SET_UP_ONCE:
        return _NO_WAIT_IN_A_FIXTURE
    return _NO_WAIT_FOR_A_MESSAGE


def _waits(suite: _Suite, module: _Module) -> Iterator[_Wait]:
    for function in module.functions:
        ran: list[str] = []  # what earlier rewrites of the test run explicitly
        for wait in _waits_in(suite, function, function.node.body):
            if not function.is_test:
                if suite.is_in_use(function):
                    yield wait
                continue
            looked_at = _looked_at(suite, wait)
            if looked_at:
                rewrite = _Rewriter(suite, wait, ran).rewrite()
                ran += rewrite.statements if rewrite else ()
                yield dataclasses.replace(wait, looked_at=looked_at, rewrite=rewrite)


def _waits_in(suite: _Suite, function: _Function, block: list[ast.stmt]) -> Iterator[_Wait]:
    """Yield the innermost statements that wait: a loop if it polls, else the sleep in it."""
    for index, statement in enumerate(block):
        sleeps = [n for n in _walk_own(statement) if _is_sleep(suite, function, n)]
        inner_blocks = _blocks_in(statement)
        if sleeps and (not inner_blocks or _polls(statement)):
            sleep = next(n for n in sleeps if isinstance(n, ast.Call))
            is_helper = function.module.resolve(sleep.func) not in _SLEEPS
            yield _Wait(function, block, index, sleep, f"{_text(sleep.func)}()" * is_helper)
        elif sleeps:
            for inner in inner_blocks:
                yield from _waits_in(suite, function, inner)


def _blocks_in(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the blocks of a compound statement."""
    parts = [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
    fields = ("body", "orelse", "finalbody")
    return [block for part in parts for name in fields if (block := getattr(part, name, None))]


def _polls(statement: ast.stmt) -> bool:
    """Say whether a loop goes on until something has happened."""
    if isinstance(statement, ast.While) and not isinstance(statement.test, ast.Constant):
        return True
    return isinstance(statement, _LOOPS) and any(map(_leaves, statement.body))


def _leaves(statement: ast.stmt) -> bool:
    """Say whether a statement of a loop's body may leave that loop."""
    if isinstance(statement, (ast.Break, ast.Return)):
        return True
    if isinstance(statement, _LOOPS):
        return False
    return any(_leaves(inner) for block in _blocks_in(statement) for inner in block)


def _is_sleep(suite: _Suite, function: _Function, node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if function.module.resolve(node.func) in _SLEEPS:
        # A sleep of no time lets others run, and waits for nothing.
        return not (node.args and isinstance(node.args[0], ast.Constant) and not node.args[0].value)
    helpers = suite.called(function, node)
    helpers = [helper for helper in helpers if _sleeps_somewhere(suite, helper)]
    # What a helper does with live things is found there; a test that calls it waits nevertheless.
    return any(function.is_test or not suite.is_in_use(helper) for helper in helpers)


def _sleeps_somewhere(suite: _Suite, helper: _Function) -> bool:
    if helper not in suite.sleepers:
        suite.sleepers[helper] = False  # while we look, for helpers that call each other
        suite.sleepers[helper] = _search_sleep(suite, helper)
    return suite.sleepers[helper]


def _search_sleep(suite: _Suite, helper: _Function) -> bool:
    if helper.is_test or any(map(_is_explicit, helper.own_nodes)):
        return False
    if any(helper.module.resolve(call.func) in _SLEEPS for call in helper.calls):
        return True
    called = (inner for call in helper.calls for inner in suite.called(helper, call))
    return any(_sleeps_somewhere(suite, inner) for inner in called)


def _is_explicit(node: ast.AST) -> bool:
    """Say whether *node* names one of the methods that run a task when the test says so."""
    return isinstance(node, (ast.Attribute, ast.Constant)) and bool(_EXPLICIT.search(_text(node)))


def _looked_at(suite: _Suite, wait: _Wait) -> str:
    """Return the live name that the test looks at while it waits or later; "" if there is none."""
    function, statement = wait.function, wait.statement
    looks: list[ast.AST] = [statement] if isinstance(statement, _LOOPS) else []
    later = list(_nodes_after(function, statement))
    looks += [node for node in later if isinstance(node, ast.Assert)]
    looks += [n for n in later if isinstance(n, ast.Call) and _LOOKS.fullmatch(_attribute(n))]
    live = (n for look in looks for n in ast.walk(look) if suite.is_live_node(function, n))
    return next((_text(node) for node in live), "")


def _nodes_after(function: _Function, statement: ast.stmt) -> Iterator[ast.AST]:
    end = (statement.end_lineno or 0, statement.end_col_offset or 0)
    for node in function.own_nodes:
        if isinstance(node, (ast.stmt, ast.expr)) and (node.lineno, node.col_offset) > end:
            yield node


# --- Waits whose replacement is certain -------------------------------------------------------

_MONITOR = "mqtt_monitor"
_PATIENCE = 5.0
"""Seconds that `mqtt_monitor.wait_for` waits unless it is told otherwise."""

_HEALTH = re.compile(r"health|online|offline|status")
_DISCOVERY = re.compile(r"camera|discover|device|found|inventory")
_TRIGGER = re.compile(
    r"_?(publish|send|start|submit|put|notify|trigger|emit|command|single|multiple|connect|handle"
    r"|reconnect|disconnect|on_|dispatch|inject|simulate|fire|run|discover|scan|check|refresh"
    r"|update|poll)(?!s_|ed)\w*"
)
_READER = re.compile(r"_?(get|is|has|find|list|count)(_\w+)?")
_PURE = {
    "len",
    "list",
    "set",
    "sorted",
    "dict",
    "tuple",
    "any",
    "all",
    "next",
    "range",
    "str",
    "int",
}
_PURE_METHODS = {"keys", "values", "items", "get", "json", "decode", "startswith", "endswith"}
_PATCHES = {"setattr", "object", "setitem", "delattr"}


class _NotCertainError(Exception):
    """The wait is for something that its replacement might not bring about."""


class _Rewriter:
    """Decides what a wait in a test becomes.

    It is certain only if nothing but the background can have been waited for: the test has neither
    sent a message nor called the service before, and looks at the result at once.
    """

    def __init__(self, suite: _Suite, wait: _Wait, ran: Sequence[str]) -> None:
        self._wait = wait
        self._function = function = wait.function
        self._module = function.module
        self._ran = ran
        self._detectors = [p for p in function.params if suite.is_camera_detector(function, p)]
        self._has_monitor = suite.is_our_fixture(function, _MONITOR)
        self._earlier = [
            node
            for node in function.own_nodes
            if getattr(node, "lineno", wait.statement.lineno) < wait.statement.lineno
        ]

    def rewrite(self) -> Rewrite | None:
        """Return what the wait becomes; None if that is not certain."""
        try:
            self._check_wait()
            statements = (*self._service_calls(), *self._monitor_waits())
        except _NotCertainError:
            return None
        return Rewrite(self._wait.statement.lineno, statements) if statements else None

    # The wait itself

    def _check_wait(self) -> None:
        statement = self._wait.statement
        is_sync = isinstance(self._function.node, ast.FunctionDef)
        if not is_sync or self._wait.helper or not self._module.is_rewritable:
            raise _NotCertainError
        if not self._stands_alone(statement) or not self._looks:
            raise _NotCertainError
        if isinstance(statement, _LOOPS):
            self._check_loop(statement)
        elif not isinstance(statement, ast.Expr) or len(list(_calls(statement))) > 1:
            raise _NotCertainError

    def _stands_alone(self, statement: ast.stmt) -> bool:
        """Say whether nothing else is on its lines but a comment."""
        first = self._module.lines[statement.lineno - 1].encode()
        last = self._module.lines[(statement.end_lineno or 0) - 1].encode()
        before, after = first[: statement.col_offset], last[statement.end_col_offset :].strip()
        return not before.strip() and (not after or after.startswith(b"#"))

    def _check_loop(self, loop: ast.While | ast.For | ast.AsyncFor) -> None:
        """Raise unless the loop does nothing but look at the service and sleep."""
        target = _text(loop.target) if not isinstance(loop, ast.While) else ""
        names = {n.id for n in _walk_own(loop) if isinstance(n, ast.Name)}
        sleep_root = _text(self._wait.sleep.func).partition(".")[0]
        known = {*self._detectors, _MONITOR, sleep_root, target, *_PURE}
        later = _nodes_after(self._function, loop)
        used_later = any(_text(n) == target for n in later if isinstance(n, ast.Name))
        is_plain = all(map(self._is_part_of_polling, loop.body)) and not loop.orelse
        if not is_plain or used_later or any(n not in known and not n.isupper() for n in names):
            raise _NotCertainError
        if not names & {*self._detectors, _MONITOR} or any(map(self._is_trigger, _calls(loop))):
            raise _NotCertainError

    def _is_part_of_polling(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.If):
            return not statement.orelse and isinstance(statement.body[0], ast.Break)
        return isinstance(statement, ast.Expr) and statement.value is self._wait.sleep

    # What the test looks at, and what it did before

    @functools.cached_property
    def _readings(self) -> list[ast.Assign]:
        """The assignments between the wait and the assertions, which only read."""
        rest = self._wait.block[self._wait.index + 1 :]
        plain = itertools.takewhile(lambda s: isinstance(s, ast.Assign) and _is_pure(s), rest)
        return [statement for statement in plain if isinstance(statement, ast.Assign)]

    @functools.cached_property
    def _asserts(self) -> list[ast.Assert]:
        rest = self._wait.block[self._wait.index + 1 + len(self._readings) :]
        asserts = itertools.takewhile(lambda statement: isinstance(statement, ast.Assert), rest)
        return [statement for statement in asserts if isinstance(statement, ast.Assert)]

    @functools.cached_property
    def _looks(self) -> list[ast.AST]:
        if not self._asserts:
            return []
        loop = [self._wait.statement] if isinstance(self._wait.statement, _LOOPS) else []
        return [*loop, *self._readings, *self._asserts]

    def _mentions(self, nodes: Iterable[ast.AST], *names: str) -> bool:
        inner = (n for node in nodes for n in ast.walk(node))
        return any(isinstance(n, ast.Name) and n.id in names for n in inner)

    def _was_triggered(self) -> bool:
        """Say whether the test has made the service do something already."""
        asserted = {id(n) for a in self._earlier if isinstance(a, ast.Assert) for n in ast.walk(a)}
        for node in self._earlier:
            if isinstance(node, ast.Call) and id(node) not in asserted and self._is_trigger(node):
                return True
            # By another name, it can do anything without our noticing.
            if any(_text(value) in self._detectors for _, value in _bindings(node)):
                return True
        return False

    def _is_trigger(self, call: ast.Call) -> bool:
        name = _attribute(call)
        if _EXPLICIT.fullmatch(name) or _READER.fullmatch(name):
            return False
        if _TRIGGER.fullmatch(name):
            return True
        if isinstance(call.func, ast.Attribute) and _text(call.func.value) in self._detectors:
            return True
        if name in _PURE | _PATCHES:
            return False
        return self._mentions([*call.args, *call.keywords], *self._detectors)

    # The service

    def _service_calls(self) -> list[str]:
        """Return the calls that do what the background did."""
        looks_at_service = self._mentions(self._looks, *self._detectors)
        if not self._detectors or (not looks_at_service and self._was_triggered()):
            return []
        rebound = {_text(target) for node in self._earlier for target, _ in _bindings(node)}
        acts = any(
            self._is_trigger(call) for look in self._looks for call in _calls(look, sleeps=False)
        )
        is_clear = len(self._detectors) == 1 and not rebound & set(self._detectors) and not acts
        if not is_clear or self._was_triggered():
            raise _NotCertainError
        return [f"{self._detectors[0]}.{task}()" for task in self._tasks()]

    def _tasks(self) -> list[str]:
        words = [re.sub(r"camera_?detector", "", word) for word in self._words()]
        about_health = any(map(_HEALTH.search, words))
        about_cameras = any(map(_DISCOVERY.search, words))
        discovered = any("test_run_discovery_once" in run for run in self._ran) or any(
            isinstance(n, ast.Attribute) and n.attr == "test_run_discovery_once"
            for n in self._earlier
        )
        if about_health:
            # The background would have discovered the cameras whose health is looked at.
            first = ["test_run_discovery_once"] if about_cameras and not discovered else []
            return [*first, "test_run_health_check_once"]
        if about_cameras:
            return ["test_run_discovery_once"]
        raise _NotCertainError

    def _words(self) -> Iterator[str]:
        """Yield the names and texts in what the test looks at."""
        for node in (n for look in self._looks for n in ast.walk(look)):
            if isinstance(node, ast.Attribute):
                yield node.attr.lower()
            elif isinstance(node, ast.Name) and node.id not in (*self._detectors, _MONITOR):
                yield node.id.lower()
                yield (self._module.string(node) or "").lower()
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.lower()

    # The monitor

    def _monitor_waits(self) -> list[str]:
        """Return the calls that wait for the messages which the test reads."""
        if not self._mentions(self._looks, _MONITOR):
            return []
        seen = [n for n in self._earlier if isinstance(n, ast.Attribute) and _is_monitor(n.value)]
        if not self._has_monitor or (seen and seen[-1].attr != "clear"):
            raise _NotCertainError  # what it has from before, it would find again
        waits = [wait for reading in self._readings for wait in self._waits_of_unpacking(reading)]
        for look in self._asserts:
            if self._mentions([look], _MONITOR, *self._aliases):
                waits += self._expected(look.test)
        if not waits:
            raise _NotCertainError
        return list(dict.fromkeys(waits))

    @functools.cached_property
    def _aliases(self) -> dict[str, ast.expr]:
        """The names given to what is read from the monitor."""
        return {
            _text(target): reading.value
            for reading in self._readings
            for target in reading.targets
            if isinstance(target, ast.Name) and self._mentions([reading], _MONITOR)
        }

    def _waits_of_unpacking(self, reading: ast.Assign) -> list[str]:
        """Read `[message] = ...`: there have to be as many messages as names."""
        [target, *others] = reading.targets
        if others or not isinstance(target, (ast.List, ast.Tuple)):
            return []
        if not self._mentions([reading], _MONITOR, *self._aliases):
            return []
        return self._expected(reading.value, len(target.elts))

    def _expected(self, node: ast.expr, count: int = 1) -> list[str]:
        """Return the waits after which *node*, an expression on the messages, can be true."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            about = [v for v in node.values if self._mentions([v], _MONITOR, *self._aliases)]
            return [wait for value in about for wait in self._expected(value, count)]
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._expected_of_comparison(node.left, node.ops[0], node.comparators[0])
        if isinstance(node, ast.Name) and node.id in self._aliases:
            return self._expected(self._aliases[node.id], count)
        if isinstance(node, ast.Attribute) and node.attr == "messages" and _is_monitor(node.value):
            return [self._wait_for('"#"', count)]
        if isinstance(node, ast.Subscript):
            index = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(index, int):
                return self._expected(node.value, index + 1)
        elif isinstance(node, (ast.Attribute, ast.Call)):
            return self._expected_of_part(node, count)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return self._expected_of_filter(node, node.generators[0].ifs, count)
        raise _NotCertainError

    def _expected_of_part(self, node: ast.Attribute | ast.Call, count: int) -> list[str]:
        if isinstance(node, ast.Attribute):
            return self._expected(node.value, count)
        name = _attribute(node)
        if name == "any" and isinstance(node.args[0], (ast.ListComp, ast.GeneratorExp)):
            filtered = node.args[0]
            return self._expected_of_filter(
                filtered, [*filtered.generators[0].ifs, filtered.elt], count
            )
        if name in ("list", "next") and node.args:
            return self._expected(node.args[0], count)
        if name in _PURE_METHODS and isinstance(node.func, ast.Attribute):
            return self._expected(node.func.value, count)
        raise _NotCertainError

    def _expected_of_comparison(
        self, left: ast.expr, operator: ast.cmpop, right: ast.expr
    ) -> list[str]:
        if isinstance(operator, ast.In) and isinstance(right, (ast.ListComp, ast.SetComp)):
            [generator, *_] = right.generators
            if _text(right.elt) == f"{_text(generator.target)}.topic" and not generator.ifs:
                self._check_source(right, generator, [])
                return [self._wait_for(self._source(left), 1)]
        if self._mentions([right], _MONITOR, *self._aliases):
            raise _NotCertainError
        if not (isinstance(left, ast.Call) and _attribute(left) == "len"):
            if isinstance(operator, ast.Eq) and isinstance(left, (ast.Attribute, ast.Call)):
                return self._expected(left)
            raise _NotCertainError
        number = right.value if isinstance(right, ast.Constant) else None
        one_more = isinstance(operator, ast.Gt)
        if not isinstance(operator, (ast.Eq, ast.GtE, ast.Gt)) or not isinstance(number, int):
            raise _NotCertainError
        if number + one_more < 1:
            raise _NotCertainError
        return self._expected(left.args[0], number + one_more)

    def _expected_of_filter(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp,
        conditions: list[ast.expr],
        count: int,
    ) -> list[str]:
        [generator, *others] = node.generators
        if others:
            raise _NotCertainError
        self._check_source(node, generator, conditions)
        message = _text(generator.target)
        parts = [
            part
            for condition in conditions
            for part in (condition.values if _is_and(condition) else [condition])
        ]
        topics = [topic for part in parts for topic in _compared_topic(part, message)]
        if len(topics) > 1:
            raise _NotCertainError
        rest = [self._source(part) for part in parts if not _compared_topic(part, message)]
        topic = self._source(topics[0]) if topics else '"#"'
        return [
            self._wait_for(topic, count, f"lambda {message}: {' and '.join(rest)}" if rest else "")
        ]

    def _check_source(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp,
        generator: ast.comprehension,
        conditions: list[ast.expr],
    ) -> None:
        """Raise unless it is the monitor's messages that are filtered, by what is known already."""
        source = self._aliases.get(_text(generator.iter), generator.iter)
        new = {_text(target) for reading in self._readings for target in reading.targets}
        is_plain = _text(source) == f"{_MONITOR}.messages" and isinstance(
            generator.target, ast.Name
        )
        if not is_plain or generator.is_async or self._mentions([node.elt, *conditions], *new):
            raise _NotCertainError

    def _source(self, node: ast.expr) -> str:
        source = ast.get_source_segment("\n".join(self._module.lines), node)
        if not source or "\n" in source:
            raise _NotCertainError
        return source

    def _sleeps_a_number(self) -> bool:
        args = self._wait.sleep.args
        return isinstance(getattr(args[0] if args else None, "value", None), (int, float))

    def _wait_for(self, topic: str, count: int, where: str = "") -> str:
        arguments = [topic]
        if count > 1:
            arguments.append(f"count={count}")
        slept = ast.literal_eval(self._wait.sleep.args[0]) if self._sleeps_a_number() else 0
        if slept > _PATIENCE:
            arguments.append(f"timeout={slept}")
        if where:
            arguments.append(f"where={where}")
        return f"{_MONITOR}.wait_for({', '.join(arguments)})"


def _calls(node: ast.AST, *, sleeps: bool = True) -> Iterator[ast.Call]:
    for inner in _walk_own(node):
        if isinstance(inner, ast.Call) and (sleeps or _attribute(inner) != "sleep"):
            yield inner


def _is_pure(statement: ast.stmt) -> bool:
    return all(_attribute(call) in _PURE | _PURE_METHODS for call in _calls(statement))


def _is_monitor(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == _MONITOR


def _is_and(node: ast.expr) -> TypeGuard[ast.BoolOp]:
    return isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And)


def _compared_topic(node: ast.expr, message: str) -> list[ast.expr]:
    """Return what the topic of *message* has to be, where *node* says just that."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        left, right = node.left, node.comparators[0]
        for topic, other in ((left, right), (right, left)):
            if _text(topic) == f"{message}.topic":
                return [other]
    return []


# --- Brokers and clients ----------------------------------------------------------------------

_USE_OUR_BROKER = (
    "the fixture test_mqtt_broker: one broker for the session; isolated_mqtt_broker for a test "
    "that stops or fills it"
)
_USE_OUR_BROKER_OBJECT = (
    "the fixture session_mqtt_broker, named in an autouse fixture; TestMQTTBroker() in place of "
    "the helper where a test needs a broker of its own"
)
_USE_OUR_CLIENTS = "the fixtures mqtt_client or mqtt_client_factory: clients on loan"
_USE_PROMPT_CLIENTS = (
    "mqtt_client_factory in tests with fixtures; else an autouse fixture that names "
    "prompt_mqtt_clients and redirected_mqtt_clients"
)


def _check_makers(suite: _Suite, module: _Module) -> Iterator[Finding]:
    for function in module.functions:
        yield from _brokers_of(suite, function)
        yield from _clients_of(suite, function)


def _brokers_of(suite: _Suite, function: _Function) -> Iterator[Finding]:
    call = suite.starts_broker(function)
    if call is None:
        return
    path, scope = function.module.path, function.fixture_scope
    if scope == "function" or function.name in _SET_UP:
        what = f"{_role(function)} starts a broker for each test: {_short(call)}"
        yield Finding(path, call.lineno, "per-test-broker", what, _USE_OUR_BROKER, False)
    elif function.is_test:
        # A broker of ours in a test is there on purpose.
        if not function.module.resolve(call.func).endswith(("TestMQTTBroker", "MQTTTestBroker")):
            what = f"{function.title} starts a broker of its own: {_short(call)}"
            yield Finding(path, call.lineno, "per-test-broker", what, _USE_OUR_BROKER, False)
    elif scope is None and (
        function.name in _SET_UP_ONCE or suite.is_direct(function, call, "broker")
    ):
        what = f"{function.title} starts a broker, outside of any fixture: {_short(call)}"
        yield Finding(
            path, call.lineno, "helper-starts-broker", what, _USE_OUR_BROKER_OBJECT, False
        )


def _clients_of(suite: _Suite, function: _Function) -> Iterator[Finding]:
    call = suite.makes_client(function)
    if call is None or function.is_test or _is_thrown_away(function, call):
        return
    path = function.module.path
    if function.fixture_scope:
        what = f"{_role(function)} makes a real client: {_short(call)}"
        yield Finding(path, call.lineno, "client-in-fixture", what, _USE_OUR_CLIENTS, False)
    elif function.name in _SET_UP | _SET_UP_ONCE or suite.is_direct(function, call, "client"):
        what = f"{function.title} makes a client, outside of any fixture: {_short(call)}"
        yield Finding(path, call.lineno, "helper-makes-client", what, _USE_PROMPT_CLIENTS, False)


def _is_thrown_away(function: _Function, call: ast.Call) -> bool:
    """Say so of the call of a helper that merely uses a client, to see if a broker is there."""
    return any(isinstance(n, ast.Expr) and n.value is call for n in function.own_nodes)


def _role(function: _Function) -> str:
    return f"the fixture {function.fixture_name}" if function.fixture_scope else function.title


def _short(node: ast.AST) -> str:
    text = " ".join(_text(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- Ports and client ids ---------------------------------------------------------------------

_BROKER_PORTS = {1883, 8883, "1883", "8883"}
_PORT_NAME = re.compile(r"(\w*_)?port", re.I)
_BROKER_URL = re.compile(r"\bmqtts?://[^/\s]*:\d+")
_BROKER_CONFIG = re.compile(r"^\s*(listener|port)\s+\d+|mosquitto\b.*\s-p\s*\d+", re.M)
_USE_OUR_PORT = (
    "the broker's own: test_mqtt_broker.port, or **test_mqtt_broker.get_connection_params(); "
    "redirected_mqtt_clients for a service that cannot be told"
)


def _check_ports(suite: _Suite, module: _Module) -> Iterator[Finding]:
    for node in _outside_of_assertions(module.tree):
        for place in (*_named_ports(node), *_written_out_ports(node), *_command_line_ports(node)):
            yield _fixed_port(module, place, _short(place))
    for function in module.functions:
        for call in function.calls:
            if _attribute(call) in ("connect", "connect_async") and _is_on_live(
                suite, function, call
            ):
                yield from _ports_of_connection(module, call)


def _fixed_port(module: _Module, node: ast.expr, how: str) -> Finding:
    what = f"a hard-coded broker port: {how}"
    return Finding(module.path, node.lineno, "fixed-port", what, _USE_OUR_PORT, False)


def _outside_of_assertions(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what is done, not what is expected or explained."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if not isinstance(child, ast.Assert) and not is_docstring:
            yield from _outside_of_assertions(child)


def _is_broker_port(node: ast.AST | None) -> TypeGuard[ast.expr]:
    return isinstance(node, ast.Constant) and node.value in _BROKER_PORTS and node.value is not True


def _named_ports(node: ast.AST) -> Iterator[ast.expr]:
    """Yield 1883 and 8883 where something called a port is set to them."""
    pairs: list[tuple[object, ast.AST | None]] = []
    if isinstance(node, ast.keyword):
        pairs = [(node.arg, node.value)]
    elif isinstance(node, ast.Assign):
        pairs = [(_last_word(target), node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        pairs = [(_last_word(node.target), node.value)]
    elif isinstance(node, ast.Dict):
        pairs = [(getattr(k, "value", None), v) for k, v in zip(node.keys, node.values)]
    elif isinstance(node, ast.arguments):
        args = [*node.posonlyargs, *node.args]
        pairs = [(arg.arg, d) for arg, d in zip(reversed(args), reversed(node.defaults))]
        pairs += [(arg.arg, d) for arg, d in zip(node.kwonlyargs, node.kw_defaults)]
    elif isinstance(node, ast.Call) and len(node.args) >= 2:  # setenv("MQTT_PORT", "1883")
        pairs = [(getattr(node.args[0], "value", None), node.args[1])]
    for name, value in pairs:
        if isinstance(name, str) and _PORT_NAME.fullmatch(name) and _is_broker_port(value):
            yield value


def _last_word(target: ast.expr) -> object:
    if isinstance(target, ast.Subscript):
        return getattr(target.slice, "value", None)
    return _text(target).rpartition(".")[2]


def _written_out_ports(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the URLs and mosquitto settings that have a port in them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from [node] if _has_broker_port(node.value) else []


def _has_broker_port(text: str) -> bool:
    settings = (found.group() for found in _BROKER_CONFIG.finditer(text))
    named = any(re.search(r"\b[18]883\b", setting) for setting in settings)
    return named or bool(_BROKER_URL.search(text))


def _command_line_ports(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the number in `["mosquitto", "-p", "18830"]`."""
    if isinstance(node, (ast.List, ast.Tuple)) and any(map(_BROKER_BINARY.search, _strings(node))):
        for option, value in zip(node.elts, node.elts[1:]):
            number = str(getattr(value, "value", ""))
            if _strings(option) == ["-p"] and number.isdigit():
                yield value


def _is_on_live(suite: _Suite, function: _Function, call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and suite.is_live(function, call.func.value)


def _ports_of_connection(module: _Module, call: ast.Call) -> Iterator[Finding]:
    port = _keyword(call, "port") or (call.args[1] if len(call.args) > 1 else None)
    host = _keyword(call, "host") or (call.args[0] if call.args else None)
    if port is None and module.string(host) is not None:
        yield _fixed_port(module, call, f"{_short(call)} takes 1883, the default")
    elif isinstance(port, ast.Constant) and isinstance(port.value, int) and port.value:
        yield _fixed_port(module, port, _short(call))


def _check_client_ids(suite: _Suite, module: _Module) -> Iterator[Finding]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            fixed = module.string(_client_id(suite, module, node))
            if fixed:
                yield Finding(
                    module.path,
                    node.lineno,
                    "fixed-client-id",
                    f"a client id that two clients may have at once, which then throw each other "
                    f"out: {fixed!r}",
                    "no client id at all, or one that the test makes; a client on loan "
                    "(mqtt_client) has a broker of its own run",
                    False,
                )


def _client_id(suite: _Suite, module: _Module, call: ast.Call) -> ast.expr | None:
    if suite.is_paho(module, call.func):
        # First in paho 1.6; in 2.x the version of the callbacks comes before it.
        strings = [arg for arg in call.args[:2] if module.string(arg) is not None]
        return _keyword(call, "client_id") or next(iter(strings), None)
    name = module.resolve(call.func)
    if name in _MQTT_CLIENTS:
        return _keyword(call, "identifier") or _keyword(call, "client_id")
    if name.startswith("paho.mqtt.") or suite.is_service(module, name):
        return _keyword(call, "client_id")
    return None


# --- The order of the ending, and imports -----------------------------------------------------


def _check_endings(_suite: _Suite, module: _Module) -> Iterator[Finding]:
    for function in ast.walk(module.tree):
        if isinstance(function, _FUNCTIONS):
            yield from _endings_in(module, function)


def _endings_in(module: _Module, function: _FunctionNode) -> Iterator[Finding]:
    calls = [c for s in function.body for c in _calls(s) if isinstance(c.func, ast.Attribute)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    order = [
        (_text(c.func.value), c.func.attr, c) for c in calls if isinstance(c.func, ast.Attribute)
    ]
    for place, (client, method, call) in enumerate(order):
        before, after = order[:place], order[place + 1 :]
        if method != "loop_stop" or any(o[:2] == (client, "disconnect") for o in before):
            continue
        if any(o[:2] == (client, "disconnect") for o in after):
            yield Finding(
                module.path,
                call.lineno,
                "loop-stop-first",
                f"{client}.loop_stop() before {client}.disconnect(): up to 1 s a client",
                f"{client}.disconnect() and then {client}.loop_stop(); everywhere at once: "
                "prompt_mqtt_clients",
                False,
            )


def _check_imports(_suite: _Suite, module: _Module) -> Iterator[Finding]:
    for node in ast.walk(module.tree):
        swallowed: list[tuple[str, ast.AST]] = []
        if isinstance(node, ast.Try):
            if any(_swallows(handler) for handler in node.handlers):
                swallowed = [found for s in node.body for found in _imports_of_ours(s)]
        elif isinstance(node, ast.With):
            if any(_suppresses_import_errors(item.context_expr) for item in node.items):
                swallowed = [found for s in node.body for found in _imports_of_ours(s)]
        elif isinstance(node, ast.Call) and _attribute(node) == "importorskip":
            named = _strings(node)[:1]
            swallowed = [(name, node) for name in named if name.rpartition(".")[2] in OUR_MODULES]
        for name, place in swallowed:
            yield Finding(
                module.path,
                getattr(place, "lineno", 1),
                "swallowed-import",
                f"the import of {name} may fail, and the slow fixtures then run unnoticed",
                "the bare import; with a tests/__init__.py it begins with a dot, as in "
                f"`from .{name} import ...`",
                False,
            )


def _swallows(handler: ast.ExceptHandler) -> bool:
    caught = _text(handler.type) if handler.type else "Exception"
    if not re.search(r"\b(ImportError|ModuleNotFoundError|Exception|BaseException)\b", caught):
        return False
    inner = [node for statement in handler.body for node in ast.walk(statement)]
    # The other way to import it is no way to do without it.
    tries_again = any(list(_imports_of_ours(node)) for node in inner)
    return not tries_again and not any(isinstance(node, ast.Raise) for node in inner)


def _suppresses_import_errors(node: ast.expr) -> bool:
    is_suppress = isinstance(node, ast.Call) and _attribute(node) == "suppress"
    return is_suppress and bool(re.search(r"ImportError|ModuleNotFound|Exception", _text(node)))


def _imports_of_ours(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for inner in _walk_own(node):
        names: list[str] = []
        if isinstance(inner, ast.ImportFrom):
            names = [inner.module or "", *(alias.name for alias in inner.names)]
        elif isinstance(inner, ast.Import):
            names = [alias.name for alias in inner.names]
        for name in names:
            last = name.rpartition(".")[2]
            if last in OUR_MODULES:
                yield last, inner


_CHECKS = (
    _check_waits,
    _check_makers,
    _check_ports,
    _check_client_ids,
    _check_endings,
    _check_imports,
)

# --- Commented code ---------------------------------------------------------------------------

_CODE_BEGINS = re.compile(r"(import|from|def|async def|@|time\.sleep)\b|@")


def _leftovers(module: _Module) -> Iterator[Finding]:
    text = "\n".join(module.lines).lstrip("\ufeff")
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }
    end = 0
    for line in comments:
        if line <= end or not _CODE_BEGINS.match(_uncommented(comments[line]).strip()):
            continue
        block = [
            comments[n] for n in itertools.takewhile(comments.__contains__, itertools.count(line))
        ]
        length, statement = _longest_code(block)
        end = line + length - 1
        if statement is not None and _is_leftover(statement):
            yield Finding(
                module.path,
                line,
                "commented-code",
                f"commented-out code: {_short(statement)}",
                "delete it: the version control has it",
                False,
            )


def _uncommented(comment: str) -> str:
    return comment[2:] if comment.startswith("# ") else comment.lstrip("#")


def _longest_code(block: Sequence[str]) -> tuple[int, ast.stmt | None]:
    """Return how many lines of a block of comments are code, and its first statement."""
    for length in range(len(block), 0, -1):
        code = textwrap.dedent("\n".join(map(_uncommented, block[:length])))
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError):
            continue
        return length, tree.body[0] if tree.body else None
    return 1, None


def _is_leftover(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, _FUNCTIONS):
        is_fixture = any("fixture" in _text(d) for d in statement.decorator_list)
        return is_fixture or statement.name.startswith("test") or "camera" in statement.name
    return isinstance(statement, ast.Expr) and "sleep" in _text(statement)
