"""What an expression may be: the constants that it comes from, in whatever file they stand."""

from __future__ import annotations

import ast
import builtins
import functools
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

from .parsing import Function, Module, bindings, called_name, keyword_value, unparsed
from .suite import Suite

_OWN = ("self", "cls")
_CONVERSIONS = {"int", "str"}
_LOOK_UPS = {"get", "getenv", "getint", "setdefault"}
_Source = tuple[Function, ast.expr]


class Values:
    """Follows names, attributes, parameters, settings and their defaults."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite

    def of(self, function: Function, node: ast.expr | None) -> Iterator[object]:
        """Yield the constants that an expression in *function* may be."""
        for _, source in self._ends(function, node):
            if isinstance(source, ast.Constant):
                yield source.value

    def _ends(self, function: Function, node: ast.expr | None) -> Iterator[_Source]:
        """Yield what an expression comes from, each once."""
        seen: set[tuple[int, int]] = set()
        left = [(function, node)] if node is not None else []
        while left:
            here, source = left.pop()
            if (id(here), id(source)) not in seen:
                seen.add((id(here), id(source)))
                yield here, source
                left += self._sources(here, source)

    def _sources(self, function: Function, node: ast.expr) -> Iterator[_Source]:
        """Yield the expressions that an expression gets its value from."""
        if isinstance(node, ast.Name):
            yield from self._of_name(function, node.id)
        elif isinstance(node, ast.Attribute):
            yield from self._of_attribute(function, node)
        elif isinstance(node, ast.Subscript):
            yield from self._entries(function, node.value, node.slice)
        elif isinstance(node, ast.Call):
            yield from self._of_call(function, node)
        else:
            yield from ((function, part) for part in _parts(node))

    def _of_call(self, function: Function, call: ast.Call) -> Iterator[_Source]:
        name = called_name(call)
        if name in _CONVERSIONS:
            yield from ((function, argument) for argument in call.args[:1])
        if name in _LOOK_UPS and call.args:
            given = [*call.args[-1:][: len(call.args) - 1], *(k.value for k in call.keywords)]
            yield from ((function, default) for default in given)
            if isinstance(call.func, ast.Attribute):
                yield from self._entries(function, call.func.value, call.args[0])

    def _entries(self, function: Function, node: ast.expr, key: ast.expr) -> Iterator[_Source]:
        """Yield what stands in a dict under a key."""
        for home, source in self._ends(function, node):
            if isinstance(source, ast.Dict):
                pairs = zip(source.keys, source.values)
                yield from ((home, v) for k, v in pairs if k and unparsed(k) == unparsed(key))

    def _of_name(self, function: Function, name: str) -> Iterator[_Source]:
        yield from ((function, value) for value in _bound(function).get(name, ()))
        if name in function.params:
            yield from self._of_parameter(function, name)
        else:
            yield from self._of_module(function.module, name)

    def _of_module(self, module: Module, name: str, depth: int = 3) -> Iterator[_Source]:
        yield from ((module.top_level, value) for value in _bound(module.top_level).get(name, ()))
        place, _, imported = module.imports.get(name, "").rpartition(".")
        home = self._suite.module_named(place, module.path) if place else None
        if home is not None and depth:
            yield from self._of_module(home, imported, depth - 1)

    def _of_attribute(self, function: Function, node: ast.Attribute) -> Iterator[_Source]:
        owner, module = function.owner, function.module
        if unparsed(node.value) in _OWN and owner is not None:
            yield from self._of_field(module, owner, node.attr)
            return
        if unparsed(node.value).partition(".")[0] in module.imports:
            home = self._suite.module_named(module.resolve(node.value), module.path)
            if home is not None:
                yield from self._of_module(home, node.attr)
                return
        # The settings of an object whose class is one of those that are known here.
        places = (imported.rpartition(".")[0] for imported in set(module.imports.values()))
        homes = {self._suite.module_named(place, module.path) for place in places}
        for known in filter(None, {module, *homes}):
            for kind in known.classes.values():
                yield from self._of_field(known, kind, node.attr)

    def _of_field(self, module: Module, owner: ast.ClassDef, name: str) -> Iterator[_Source]:
        """Yield what a class, its methods and its callers set an attribute to."""
        body = [pair for statement in owner.body for pair in bindings(statement)]
        for target, value in body:
            if unparsed(target) == name:
                yield module.top_level, value
        for method in (f for f in module.functions if f.owner is owner):
            values = chain(*(_bound(method).get(f"{own}.{name}", ()) for own in _OWN))
            yield from ((method, value) for value in values)
        fields = [unparsed(s.target) for s in owner.body if isinstance(s, ast.AnnAssign)]
        if name in fields:
            yield from self._passed(owner.name, name, fields.index(name))

    def _of_parameter(self, function: Function, name: str) -> Iterator[_Source]:
        arguments = function.node.args  # type: ignore[union-attr]
        own = [*arguments.posonlyargs, *arguments.args]
        pairs = list(zip(reversed(own), reversed(arguments.defaults)))
        pairs += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults) if d]
        yield from ((function, default) for argument, default in pairs if argument.arg == name)
        if function.is_test or function.fixture_scope:
            yield from self._of_fixture(name)
        names = [a.arg for a in own if a.arg not in _OWN]
        called = function.name
        if function.owner is not None and called == "__init__":
            called = function.owner.name
        yield from self._passed(called, name, names.index(name) if name in names else -1)

    def _of_fixture(self, name: str) -> Iterator[_Source]:
        for fixture in self._suite.fixtures():
            if fixture.fixture_name == name:
                given = (n for n in fixture.own_nodes if isinstance(n, (ast.Return, ast.Yield)))
                yield from ((fixture, node.value) for node in given if node.value is not None)

    def _passed(self, called: str, name: str, index: int) -> Iterator[_Source]:
        """Yield what callers give for a parameter."""
        # A method that is called open has other callers than it seems.
        for function, call in () if called in dir(builtins) else self._calls[called]:
            value = keyword_value(call, name)
            if value is None and 0 <= index < len(call.args):
                value = call.args[index]
            if value is not None:
                yield function, value

    @functools.cached_property
    def _calls(self) -> dict[str, list[tuple[Function, ast.Call]]]:
        found: defaultdict[str, list[tuple[Function, ast.Call]]] = defaultdict(list)
        for module in self._suite.everything:
            for function in module.functions:
                for call in function.calls:
                    found[called_name(call)].append((function, call))
        return found


def _parts(node: ast.expr) -> list[ast.expr]:
    """Return the expressions that one of several parts, or of one, is."""
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return node.elts  # what a loop over it gets
    if isinstance(node, ast.JoinedStr) and len(node.values) == 1:
        return node.values
    if isinstance(node, (ast.FormattedValue, ast.NamedExpr)):
        return [node.value]
    return []


@functools.cache
def _bound(function: Function) -> dict[str, list[ast.expr]]:
    """Return what a function binds; of tuples, each of their elements by itself."""
    found: defaultdict[str, list[ast.expr]] = defaultdict(list)
    for node in function.own_nodes:
        for target, value in bindings(node):
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts))
            for each, given in pairs:
                found[unparsed(each)].append(given)
    return found
