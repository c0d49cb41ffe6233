"""What a slow fixture does to give its tests a service, statement by statement."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..findings.parsing import Function, called_name, names_in, unparsed
from ..findings.suite import Suite

_WAIT = re.compile(r"sleep|wait\w*|poll|pause|settle|ready", re.I)
_TASK = {"create_task", "ensure_future"}
_OURS = ast.Name("session_mqtt_broker", ast.Load())


@dataclass
class Recipe:
    """A slow fixture, taken apart."""

    function: Function
    service: str = ""
    """The name that the service has in it; empty where it gives something else."""
    construction: ast.Call | None = None
    kept: list[ast.stmt] = field(default_factory=list)
    """What the service needs to be built as it was, its construction included."""
    contexts: list[ast.With | ast.AsyncWith] = field(default_factory=list)
    """What the tests run in, such as patches."""
    calls: list[str] = field(default_factory=list)
    """The methods of the service that are called without arguments, in order."""
    run: str | None = None
    """The method that it runs as a task, or in a thread."""
    threads: list[str] = field(default_factory=list)
    """Further methods that it runs in threads of its own."""
    endings: list[str] = field(default_factory=list)
    """The methods of the service that are called after the test."""
    enters_service: bool = False
    waits: list[int] = field(default_factory=list)
    """The lines that wait, which are left out."""
    gives: str = ""
    """What it gives, where that is no service."""

    @property
    def is_async(self) -> bool:
        """Whether what is kept has to be awaited."""
        inner = (node for statement in self.kept for node in ast.walk(statement))
        return any(isinstance(node, (ast.Await, ast.AsyncWith)) for node in inner)


def read(suite: Suite, function: Function) -> Recipe:
    """Take a fixture apart."""
    recipe = Recipe(function)
    steps = list(_steps(function.node.body, []))
    position = next((n for n, (s, _) in enumerate(steps) if _given(s) is not None), len(steps))
    given = _given(steps[position][0]) if position < len(steps) else None
    _Reader(suite, recipe, given).read(steps[: position + 1])
    after = (statement for statement, _ in steps[position + 1 :])
    recipe.endings += _methods_called(after, recipe.service)
    return recipe


def _steps(
    body: Sequence[ast.stmt], contexts: list[ast.With | ast.AsyncWith]
) -> Iterator[tuple[ast.stmt, list[ast.With | ast.AsyncWith]]]:
    """Yield the statements in the order in which they run, what `with` and `try` hold included."""
    for statement in body:
        if isinstance(statement, (ast.With, ast.AsyncWith)) and _holds_yield(statement):
            yield from _steps(statement.body, [*contexts, statement])
        elif isinstance(statement, ast.Try) and _holds_yield(statement):
            yield from _steps(statement.body, contexts)
            yield from _steps(statement.finalbody, contexts)
        else:
            yield statement, contexts


def _holds_yield(statement: ast.stmt) -> bool:
    return any(isinstance(node, (ast.Yield, ast.Return)) for node in ast.walk(statement))


def _given(statement: ast.stmt) -> ast.expr | None:
    """Return what a statement gives the tests: of a bare `yield` it is None, the constant."""
    value = statement.value if isinstance(statement, (ast.Expr, ast.Return)) else None
    if isinstance(statement, ast.Return):
        return value or ast.Constant(None)
    if isinstance(value, ast.Yield):
        return value.value or ast.Constant(None)
    return None


def _methods_called(statements: Iterator[ast.stmt], service: str) -> Iterator[str]:
    for statement in statements:
        for node in ast.walk(statement):
            name = _method_on(node, service)
            if name:
                yield name


def _method_on(node: ast.AST, service: str) -> str | None:
    """Return the method of the service that a node calls, without arguments."""
    if not isinstance(node, ast.Call) or node.args or node.keywords or not service:
        return None
    target = node.func
    is_it = isinstance(target, ast.Attribute) and unparsed(target.value) == service
    return target.attr if is_it and isinstance(target, ast.Attribute) else None


class _Reader:
    """Sorts the statements before the `yield`."""

    def __init__(self, suite: Suite, recipe: Recipe, given: ast.expr | None) -> None:
        self._suite = suite
        self._recipe = recipe
        self._given = given
        self._threads: set[str] = set()
        if isinstance(given, ast.Name):
            recipe.service = given.id
        elif isinstance(given, ast.Call):
            recipe.service, recipe.construction = "service", given
            recipe.kept = [_assignment("service", given, 1)]
        else:
            recipe.gives = unparsed(given) if given is not None else "nothing"

    def read(self, steps: Sequence[tuple[ast.stmt, list[ast.With | ast.AsyncWith]]]) -> None:
        """Sort them."""
        recipe = self._recipe
        before = list(recipe.kept)
        recipe.kept = []
        for statement, _ in steps:
            if _given(statement) is None:
                self._sort(statement)
        recipe.kept += before
        for context in dict.fromkeys(c for _, contexts in steps for c in contexts):
            self._sort_context(context)
        recipe.kept = _without_unused(recipe.kept, recipe.service)

    def _sort(self, statement: ast.stmt) -> None:
        recipe = self._recipe
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return  # its docstring
        ending = self._finalizer(statement)
        if ending:
            recipe.endings.append(ending)
        elif self._waits(statement):
            recipe.waits.append(statement.lineno)
        elif self._starts_broker(statement):
            self._replace_broker(statement)
        elif not self._starts(statement):
            value = getattr(statement, "value", None)
            value = value.value if isinstance(value, ast.Await) else value
            targets = map(unparsed, getattr(statement, "targets", ()))
            if isinstance(value, ast.Call) and recipe.service in targets:
                recipe.construction = value
            recipe.kept.append(statement)

    def _finalizer(self, statement: ast.stmt) -> str | None:
        """Return the method of the service that a statement leaves for the end."""
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not isinstance(call, ast.Call) or called_name(call) != "addfinalizer" or not call.args:
            return None
        target = call.args[0]
        is_it = isinstance(target, ast.Attribute) and unparsed(target.value) == self._recipe.service
        return target.attr if isinstance(target, ast.Attribute) and is_it else None

    def _waits(self, statement: ast.stmt) -> bool:
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        if isinstance(statement, (ast.While, ast.For)):
            return any(_WAIT.search(called_name(call)) for call in calls)
        if isinstance(statement, ast.Assert):
            return True  # that the wait was long enough
        is_bare = isinstance(statement, ast.Expr)
        return is_bare and any(_WAIT.fullmatch(called_name(call)) for call in calls)

    def _starts_broker(self, statement: ast.AST) -> bool:
        function = self._recipe.function
        calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
        return any(self._suite.call_starts_broker(function, call) for call in calls)

    def _replace_broker(self, statement: ast.stmt) -> None:
        """Have a name for the broker that the fixture itself starts be that of ours."""
        for target in getattr(statement, "targets", ()):
            if isinstance(target, ast.Name):
                self._recipe.kept.append(_assignment(target.id, _OURS, statement.lineno))

    def _starts(self, statement: ast.stmt) -> bool:
        """Note what starts the service, in whatever way."""
        recipe = self._recipe
        value = getattr(statement, "value", None)
        value = value.value if isinstance(value, ast.Await) else value
        name = _method_on(value, recipe.service) if value is not None else None
        if name and isinstance(statement, ast.Expr):
            recipe.calls.append(name)
            recipe.kept.append(statement)
            return True
        if isinstance(value, ast.Call) and called_name(value) in _TASK and value.args:
            recipe.run = _method_on(value.args[0], recipe.service)
            return recipe.run is not None
        return self._is_of_thread(statement)

    def _is_of_thread(self, statement: ast.stmt) -> bool:
        """Note what runs a method of the service in a thread; return whether it is left out."""
        recipe = self._recipe
        if self._threads.intersection(names_in(statement, ast.Load)):
            return True
        keywords = (k for n in ast.walk(statement) for k in getattr(n, "keywords", ()))
        targets = [k.value for k in keywords if isinstance(k, ast.keyword) and k.arg == "target"]
        own = [t for t in targets if isinstance(t, ast.Attribute)]
        methods = [t.attr for t in own if unparsed(t.value) == recipe.service]
        if methods and recipe.run is None:
            recipe.run = methods[0]
            self._threads.update(names_in(statement, ast.Store))
            return True
        recipe.threads += methods
        return False

    def _sort_context(self, context: ast.With | ast.AsyncWith) -> None:
        recipe = self._recipe
        for item in context.items:
            name = unparsed(item.optional_vars) if item.optional_vars else ""
            if name and name == recipe.service and isinstance(item.context_expr, ast.Call):
                recipe.construction, recipe.enters_service = item.context_expr, True
                recipe.kept.append(_assignment(name, item.context_expr, context.lineno))
            elif self._starts_broker(item.context_expr):
                if name:
                    recipe.kept.insert(0, _assignment(name, _OURS, context.lineno))
            else:
                kind = type(context)
                kept = kind([item], [ast.Pass()])
                recipe.contexts.append(ast.fix_missing_locations(kept))


def _assignment(name: str, value: ast.expr, line: int) -> ast.Assign:
    assign = ast.Assign([ast.Name(name, ast.Store())], value, lineno=line)
    return ast.fix_missing_locations(assign)


def _without_unused(statements: list[ast.stmt], service: str) -> list[ast.stmt]:
    """Leave out the assignments to names that nothing uses any more."""
    for _ in range(len(statements)):
        used = {service, *(n for s in statements for n in names_in(s, ast.Load))}
        kept = [s for s in statements if not _is_unused_assignment(s, used)]
        if len(kept) == len(statements):
            break
        statements = kept
    return statements


def _is_unused_assignment(statement: ast.stmt, used: set[str]) -> bool:
    if not isinstance(statement, ast.Assign):
        return False
    targets = [node for t in statement.targets for node in ast.walk(t)]
    names = {node.id for node in targets if isinstance(node, ast.Name)}
    return all(isinstance(t, (ast.Name, ast.Tuple)) for t in statement.targets) and not names & used
