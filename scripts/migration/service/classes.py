"""What a service's class does in the background, and by what it is told to end."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..findings.parsing import FUNCTIONS, Function, FunctionNode, Module, called_name, unparsed
from ..findings.suite import Suite

ENDS = re.compile(
    r"a?close|stop|shutdown|cleanup|clean_up|terminate|quit|halt|end|finish|disconnect|destroy"
    r"|tear_?down|kill|exit|hang_up",
    re.I,
)
STARTS = re.compile(
    r"a?start(_\w+)?|run|connect|open|begin|launch|set_?up|init(ialize)?|go|up", re.I
)
_STARTS_TASK = {"create_task", "ensure_future", "run_coroutine_threadsafe", "gather", "start_soon"}
_STARTS_THREAD = {"Thread", "submit", "run_in_executor", "to_thread"}
_STARTS_TIMER = {"Timer", "call_later"}
_WAITS = {"sleep", "wait", "wait_for", "join", "get"}
_USUAL_FLAGS = ("_running", "running")


@dataclass(frozen=True)
class ServiceClass:
    """A class, or a function that builds the service, and its methods."""

    name: str
    node: ast.ClassDef | FunctionNode | None
    methods: dict[str, FunctionNode]
    """Its own and those of its bases, as far as they are in the repository."""

    # --- The constructor ----------------------------------------------------------------------

    @property
    def parameters(self) -> list[str]:
        """The names of what it is built with, in order."""
        function = self.node if self._is_function else self.methods.get("__init__")
        if not isinstance(function, FUNCTIONS):
            return []
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args][0 if self._is_function else 1 :]
        return [a.arg for a in (*positional, *arguments.kwonlyargs)]

    @property
    def _is_function(self) -> bool:
        return isinstance(self.node, FUNCTIONS)

    # --- The background -----------------------------------------------------------------------

    def tasks(self) -> dict[str, str]:
        """Return the methods that its background calls again and again, by a name for a test."""
        found: dict[str, str] = {}
        for name in (*self._started_by(_STARTS_THREAD), *self._started_by(_STARTS_TASK)):
            for called in self._called_in_loops_of(name):
                found.setdefault(_name_of_task(called), called)
        for name in self._started_by(_STARTS_TIMER):
            rest = [c for c in self._calls_on_self(self.methods[name]) if c != name]
            starts_again = name in self._started_by(_STARTS_TIMER, within=name)
            for called in rest if starts_again and rest else [name]:
                found.setdefault(_name_of_task(called), called)
        return {name: m for name, m in found.items() if not self._needs_arguments(m)}

    def held(self, besides: str | None) -> list[str]:
        """Return the coroutines that it starts, and that do something now and then."""
        return [
            name
            for name in self._started_by(_STARTS_TASK)
            if name != besides and any(_pauses(loop) for loop in _loops(self.methods[name]))
        ]

    def without_task(self) -> list[str]:
        """Return the methods that run in threads, and call nothing that a test could call."""
        return [
            name
            for name in self._started_by({"Thread"})
            if all(self._needs_arguments(called) for called in self._called_in_loops_of(name))
            and "loop_forever" not in ast.unparse(self.methods[name])
        ]

    def flag(self) -> str | None:
        """Return the attribute that its loops look at, where it is not one of the usual."""
        for name in (*self._started_by(_STARTS_THREAD), *self._started_by(_STARTS_TASK)):
            for loop in _loops(self.methods[name]):
                flag = _flag_of(loop.test)
                if flag and flag not in _USUAL_FLAGS:
                    return flag
        return None

    def _started_by(self, starters: set[str], within: str | None = None) -> list[str]:
        """Return the methods that are handed to what starts a thread, a timer or a task."""
        methods = [self.methods[within]] if within else list(self.methods.values())
        calls = (n for m in methods for n in ast.walk(m) if isinstance(n, ast.Call))
        given = (a for c in calls if called_name(c) in starters for a in _arguments(c))
        names = (_method_of_self(argument) for argument in given)
        return list(dict.fromkeys(name for name in names if name in self.methods))

    def _called_in_loops_of(self, name: str) -> Iterator[str]:
        for loop in _loops(self.methods[name]):
            yield from self._calls_on_self(loop)

    def _calls_on_self(self, node: ast.AST) -> Iterator[str]:
        for inner in ast.walk(node):
            name = _method_of_self(inner.func) if isinstance(inner, ast.Call) else None
            if name in self.methods and name not in _WAITS:
                assert name is not None
                yield name

    def _needs_arguments(self, name: str) -> bool:
        arguments = self.methods[name].args
        return len(arguments.args) - 1 - len(arguments.defaults) > 0

    # --- The end ------------------------------------------------------------------------------

    def ending(self) -> str | None:
        """Return the method that ends it, as far as its name tells."""
        usual = [name for name in ("cleanup", "shutdown", "stop", "close") if name in self.methods]
        others = [name for name in self.methods if ENDS.fullmatch(name)]
        return next(iter([*usual, *others]), None)

    def ending_of_context(self) -> str | None:
        """Return the method that the end of a `with` block calls."""
        exits = [self.methods[n] for n in ("__exit__", "__aexit__") if n in self.methods]
        called = [name for method in exits for name in self._calls_on_self(method)]
        return next((n for n in called if not self._needs_arguments(n)), None)


def service_class(suite: Suite, dotted: str) -> ServiceClass:
    """Find a class or function by its full name; without its methods, where it is not found."""
    name = dotted.rpartition(".")[2]
    found = suite.defined(suite.modules[0], dotted) if suite.modules else None
    if found is None:
        return ServiceClass(name, None, {})
    home, definition = found
    if isinstance(definition, Function):
        node = definition.node
        assert not isinstance(node, ast.Module)
        made = _class_of_result(suite, definition)
        return ServiceClass(name, node, made.methods if made else {})
    return ServiceClass(name, definition, dict(_methods(suite, home, definition)))


def _class_of_result(suite: Suite, function: Function) -> ServiceClass | None:
    """Return the class of what a function builds, by its annotation or what it returns."""
    home = function.module
    values = [n.value for n in function.own_nodes if isinstance(n, ast.Return) and n.value]
    calls = [function.bound.get(unparsed(value), [value])[-1] for value in values]
    said = getattr(function.node, "returns", None)
    names = [said, *(c.func for c in calls if isinstance(c, ast.Call))]
    for node in filter(None, names):
        found = suite.defined(home, home.resolve(node))
        if found and isinstance(found[1], ast.ClassDef):
            methods = dict(_methods(suite, found[0], found[1]))
            return ServiceClass(found[1].name, found[1], methods)
    return None


def _methods(
    suite: Suite, home: Module, node: ast.ClassDef, depth: int = 5
) -> Iterator[tuple[str, FunctionNode]]:
    """Yield the methods of the bases, then its own, which so win."""
    for base in node.bases if depth else ():
        found = suite.defined(home, home.resolve(base))
        if found and isinstance(found[1], ast.ClassDef) and found[1] is not node:
            yield from _methods(suite, found[0], found[1], depth - 1)
    for inner in node.body:
        if isinstance(inner, FUNCTIONS):
            yield inner.name, inner


def _name_of_task(method: str) -> str:
    name = method.strip("_")
    return f"{name if name.startswith('run_') else f'run_{name}'}_once"


def _arguments(call: ast.Call) -> Iterator[ast.expr]:
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        yield argument.func if isinstance(argument, ast.Call) else argument


def _method_of_self(node: ast.AST) -> str | None:
    is_attribute = isinstance(node, ast.Attribute) and unparsed(node.value) == "self"
    return getattr(node, "attr", None) if is_attribute else None


def _loops(method: FunctionNode) -> list[ast.While]:
    return [node for node in ast.walk(method) if isinstance(node, ast.While)]


def _pauses(loop: ast.While) -> bool:
    calls = [called_name(node) for node in ast.walk(loop) if isinstance(node, ast.Call)]
    return "sleep" in calls or "wait_for" in calls


def _flag_of(test: ast.expr) -> str | None:
    if isinstance(test, ast.Call) and called_name(test) == "is_set":
        assert isinstance(test.func, ast.Attribute)
        test = test.func.value
    return _method_of_self(test)
