"""What is in a file: its functions, classes and imports, and how to walk them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from .sources import OUR_MODULES

FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
RUNS_LATER = (*DEFINITIONS, ast.Lambda)
LOOPS = (ast.While, ast.For, ast.AsyncFor)
_MQTT_PACKAGES = {
    "paho",
    "aiomqtt",
    "asyncio_mqtt",
    "gmqtt",
    "hbmqtt",
    "amqtt",
    "flask_mqtt",
    "fastapi_mqtt",
}
MQTT_CLIENTS = {
    "paho.mqtt.client.Client",
    "aiomqtt.Client",
    "asyncio_mqtt.Client",
    "gmqtt.Client",
    "gmqtt.client.Client",
    "hbmqtt.client.MQTTClient",
    "amqtt.client.MQTTClient",
    "flask_mqtt.Mqtt",
    "fastapi_mqtt.FastMQTT",
}
_BEGINNERS = {
    "create_task",
    "ensure_future",
    "start_soon",
    "run_coroutine_threadsafe",
    "call_soon_threadsafe",
}
PAHO_CLIENT = "paho.mqtt.client.Client"
SET_UP = {"setUp", "asyncSetUp", "setup_method"}
SET_UP_ONCE = {"setUpClass", "setup_class", "setUpModule", "setup_module"}


class Module:
    """A file that was parsed, and the names that it defines and imports."""

    def __init__(self, path: Path, text: str, encoding: str) -> None:
        self.path = path
        self.lines = re.split(r"\r\n|\r|\n", text)
        # The two kinds of line end that are kept as they are.
        self.is_rewritable = encoding in ("utf-8", "utf-8-sig") and not re.search(r"\r(?!\n)", text)
        self.tree = ast.parse(text[1:] if text.startswith("\ufeff") else text)
        self.imports = dict(_imported_names(self.tree, path))
        self.classes = {n.name: n for n in self.tree.body if isinstance(n, ast.ClassDef)}
        self.top_level = Function(self, self.tree, None)
        self.functions = [self.top_level]
        self.functions += [Function(self, node, None) for node in _functions_in(self.tree)]
        for owner in _classes_in(self.tree):
            self.functions += [Function(self, node, owner) for node in _functions_in(owner)]
        self.functions += [c for f in self.functions if f.is_test for c in f.coroutines()]

    @property
    def knows_mqtt(self) -> bool:
        """Whether it imports an MQTT library, or one of our modules."""
        roots = {part for name in self.imports.values() for part in name.split(".")}
        return bool(roots & (_MQTT_PACKAGES | OUR_MODULES))

    def function(self, name: str, owner: ast.ClassDef | None = None) -> Function | None:
        """Return its function of this name, or the method of a class of its."""
        named = (f for f in self.functions if f.name == name and f.owner is owner)
        return next((f for f in named if f.outer is None), None)

    def stands_alone(self, statement: ast.stmt) -> bool:
        """Say whether nothing else is on the lines of *statement* but a comment."""
        first = self.lines[statement.lineno - 1].encode()
        last = self.lines[(statement.end_lineno or 0) - 1].encode()
        before, after = first[: statement.col_offset], last[statement.end_col_offset :].strip()
        return not before.strip() and (not after or after.startswith(b"#"))

    def source(self, node: ast.expr) -> str | None:
        """Return the source of an expression as it stands there; None if it is on several lines."""
        found = ast.get_source_segment("\n".join(self.lines), node)
        return found if found and "\n" not in found else None

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
                if isinstance(statement, ast.Assign) and _assigns_to(statement, node.id):
                    return self.string(statement.value)
        value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        return value if isinstance(value, str) else None


def _assigns_to(statement: ast.Assign, name: str) -> bool:
    return name in map(unparsed, statement.targets)


def _functions_in(node: ast.Module | ast.ClassDef) -> Iterator[FunctionNode]:
    """Yield its functions, also those in an `if` or `try`."""
    for statement in node.body:
        for inner in walk_own(statement) if not isinstance(statement, FUNCTIONS) else [statement]:
            if isinstance(inner, FUNCTIONS):
                yield inner


def _classes_in(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef]:
    """Yield its classes, each before those in it."""
    for statement in node.body:
        if isinstance(statement, ast.ClassDef):
            yield statement
            yield from _classes_in(statement)


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


class Function:
    """A function of a file, or what the file does as it is imported."""

    def __init__(
        self,
        module: Module,
        node: FunctionNode | ast.Module,
        owner: ast.ClassDef | None,
        outer: Function | None = None,
    ) -> None:
        self.module = module
        self.node = node
        self.owner = owner
        self.outer = outer
        """The test that it is a part of: a coroutine that the test defines, and runs."""
        self.name = "" if isinstance(node, ast.Module) else node.name
        self.own_nodes = [n for statement in node.body for n in walk_own(statement)]
        self.calls = [n for n in self.own_nodes if isinstance(n, ast.Call)]

    @functools.cached_property
    def params(self) -> list[str]:
        """The names of its parameters."""
        if isinstance(self.node, ast.Module):
            return []
        args = self.node.args
        own = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
        return [*(self.outer.params if self.outer else ()), *own]

    def coroutines(self) -> Iterator[Function]:
        """Yield the coroutines that it defines and calls: `asyncio.run(main())`."""
        begun = {id(n) for c in self.calls if begins_beside(c) for n in ast.walk(c)}
        called = {unparsed(call.func) for call in self.calls if id(call) not in begun}
        for node in self.own_nodes:
            if isinstance(node, ast.AsyncFunctionDef) and node.name in called:
                yield Function(self.module, node, self.owner, self)

    @functools.cached_property
    def bound(self) -> dict[str, list[ast.expr]]:
        """What it binds, each with what that gets its values from."""
        found: dict[str, list[ast.expr]] = {}
        for node in self.own_nodes:
            for target, value in bindings(node):
                found.setdefault(unparsed(target), []).append(value)
        return found

    @functools.cached_property
    def decorators(self) -> list[ast.expr]:
        """Its decorators."""
        return [] if isinstance(self.node, ast.Module) else self.node.decorator_list

    @functools.cached_property
    def mocks(self) -> set[str]:
        """The names of the mocks that `patch` puts in the place of something while it runs."""
        given = [p for p in self.params if p not in ("self", "cls")]
        passed_in = sum(map(_passes_a_mock_in, self.decorators))
        bound = (pair for node in self.own_nodes for pair in bindings(node))
        return {*given[:passed_in], *(unparsed(t) for t, value in bound if _is_patch(value))}

    @functools.cached_property
    def fixture_scope(self) -> str | None:
        """Return the scope of the fixture that it is; None where it is none."""
        for decorator in self.decorators:
            function = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.module.resolve(function).rpartition(".")[2] == "fixture":
                scope = keyword_value(decorator, "scope")
                return self.module.string(scope) or ("dynamic" if scope else "function")
        return None

    @functools.cached_property
    def fixture_name(self) -> str:
        """Return the name that the fixture is asked for by."""
        given = (self.module.string(keyword_value(d, "name")) for d in self.decorators)
        return next(filter(None, given), self.name)

    @functools.cached_property
    def is_irreplaceable_fixture(self) -> bool:
        """Whether it does as a fixture what one without its options would not."""
        options = [
            keyword_value(d, name) for d in self.decorators for name in ("params", "autouse")
        ]
        given = any(not isinstance(o, ast.Constant) or o.value for o in options if o is not None)
        reads = {unparsed(node) for node in self.own_nodes if isinstance(node, ast.Attribute)}
        return (
            given
            or self.fixture_name in self.params
            or bool(reads & {"request.param", "request.cls"})
        )

    @property
    def is_test(self) -> bool:
        """Whether pytest would run it as a test."""
        if self.outer is not None:
            return True
        return self.name.startswith("test") and self.fixture_scope is None

    @property
    def is_in_test_case(self) -> bool:
        """Whether it is a method of a `unittest.TestCase`, which gets no fixtures."""
        bases = map(unparsed, self.owner.bases) if self.owner else []
        return any(base.endswith("TestCase") for base in bases)

    @property
    def title(self) -> str:
        """What a finding calls it."""
        if self.outer is not None:
            return self.outer.title
        if not self.name:
            return "the module itself"
        return f"{self.owner.name}.{self.name}()" if self.owner else f"{self.name}()"


def _is_patch(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and bool(
        re.search(r"\bpatch(\.object)?$", unparsed(node.func))
    )


def _passes_a_mock_in(decorator: ast.expr) -> bool:
    """Say whether it is a `patch` that is not told what else to put there."""
    if not isinstance(decorator, ast.Call) or not _is_patch(decorator):
        return False
    targets = 2 if called_name(decorator) == "object" else 1
    return len(decorator.args) <= targets and keyword_value(decorator, "new") is None


def walk_own(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the code that runs when *node* runs: the functions that it defines run later."""
    yield node
    if isinstance(node, RUNS_LATER):
        return
    for child in ast.iter_child_nodes(node):
        yield from walk_own(child)


def blocks_in(statement: ast.AST) -> list[list[ast.stmt]]:
    """Return the blocks of a compound statement."""
    parts = [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
    fields = ("body", "orelse", "finalbody")
    return [block for part in parts for name in fields if (block := getattr(part, name, None))]


def keyword_value(node: ast.expr, name: str) -> ast.expr | None:
    """Return what a call gives for a keyword; None where it does not."""
    keywords = node.keywords if isinstance(node, ast.Call) else []
    return next((keyword.value for keyword in keywords if keyword.arg == name), None)


@functools.cache
def unparsed(node: ast.AST) -> str:
    """Return the source of a node, written plainly."""
    return ast.unparse(node)


def called_name(call: ast.Call) -> str:
    """Return the last part of the name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else unparsed(call.func)


def begins_beside(node: ast.AST) -> bool:
    """Say whether *node* begins something and does not wait for it: `create_task(work())`."""
    return isinstance(node, ast.Call) and called_name(node) in _BEGINNERS


def strings_in(node: ast.AST) -> list[str]:
    """Return the strings that are written out in a node."""
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return [value for value in constants if isinstance(value, str)]


def names_in(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """Return the names that a node reads (`ast.Load`) or binds (`ast.Store`)."""
    names = (n for n in ast.walk(node) if isinstance(n, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, context)}


def bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the targets that *node* binds, each with what it gets its value from."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def calls_in(node: ast.AST, *, sleeps: bool = True) -> Iterator[ast.Call]:
    """Yield the calls that are made when *node* runs, on request without the sleeps."""
    for inner in walk_own(node):
        if isinstance(inner, ast.Call) and (sleeps or called_name(inner) != "sleep"):
            yield inner


def shortened(node: ast.AST) -> str:
    """Return the source of a node on one line, fit for a finding."""
    text = " ".join(unparsed(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
