"""What is live in the test files of a repository: brokers, clients, and what they write to."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Union

from .beside import functions_beside
from .definitions import Definitions
from .parsing import (
    FUNCTIONS,
    MQTT_CLIENTS,
    PAHO_CLIENT,
    Function,
    Module,
    bindings,
    called_name,
    unparsed,
)
from .programs import BROKER_NAME, STARTERS, started_broker, started_words

_LIVE_NAME = re.compile(r"mqtt|mosquitto|paho|camera_?detector", re.I)
_BROKER_CLASS = re.compile(r"\w*(mqtt|mosquitto)\w*(broker|server|container)", re.I)
_CALLBACK = re.compile(
    r"_?on_(pre_)?(message|connect|disconnect|publish|subscribe|unsubscribe|log)"
)
_CALLBACK_DECORATOR = re.compile(rf"{_CALLBACK.pattern}|on_topic|(\w+_)?callback|subscribe")
_RECEIVED = re.compile(r"\bmessages\b|_messages\b")
"""What a coroutine iterates over to get messages: `client.messages` of aiomqtt."""
_WRITERS = {"append", "appendleft", "add", "put", "put_nowait", "set", "update", "extend", "insert"}
_Scope = Union[Function, ast.ClassDef, Module]


class Suite(Definitions):
    """What is live in the test files, besides what they define."""

    def __init__(self, repo: Path, tests: Path) -> None:
        super().__init__(repo, tests)
        self.sleeps: dict[Function, list[Any]] = {}
        self._live_calls: dict[ast.Call, bool] = {}
        self._received: defaultdict[Function, set[str]] = defaultdict(set)
        """The parameters that a function fills with the messages that it gets."""
        self._live: defaultdict[_Scope, set[str]] = defaultdict(set)
        self._reaches: dict[tuple[Function, str], ast.Call | None] = {}
        self._follow_names()

    # Brokers and clients

    def makes_client(self, function: Function) -> ast.Call | None:
        """Return the call by which *function* makes a client of paho, itself or by a helper."""
        return self._first_call(function, "client")

    def starts_broker(self, function: Function) -> ast.Call | None:
        """Return the call by which *function* starts a broker, itself or by a helper."""
        return self._first_call(function, "broker")

    def _first_call(self, function: Function, kind: str) -> ast.Call | None:
        key = (function, kind)
        if key not in self._reaches:
            self._reaches[key] = None  # while we look, for functions that call each other
            self._reaches[key] = next(
                (call for call in function.calls if self._call_makes(function, call, kind)), None
            )
        return self._reaches[key]

    def makers(self, function: Function, kind: str, depth: int = 5) -> set[Function]:
        """Return the helpers by which *function* makes a client or starts a broker."""
        call = self._first_call(function, kind)
        if call is None or depth == 0:
            return set()
        helpers = {h for h in self.called(function, call) if self._first_call(h, kind)}
        return helpers.union(*(self.makers(helper, kind, depth - 1) for helper in helpers))

    def _call_makes(self, function: Function, call: ast.Call, kind: str) -> bool:
        if self.is_direct(function, call, kind):
            return True
        return any(self._first_call(helper, kind) for helper in self.called(function, call))

    def call_starts_broker(self, function: Function, call: ast.Call) -> bool:
        """Return whether *call* starts a broker, itself or by a helper."""
        return self._call_makes(function, call, "broker")

    def is_direct(self, function: Function, call: ast.Call, kind: str) -> bool:
        """Say whether *call* itself makes a client or starts a broker, not a helper of ours."""
        if kind == "client":
            return self.is_paho(function.module, call.func)
        return bool(self.broker_started(function, call))

    def is_paho(self, module: Module, node: ast.expr) -> bool:
        """Say whether *node* is paho's client class, or one derived from it."""
        name = module.resolve(node)
        if name == PAHO_CLIENT:
            return True
        found = self.defined(module, name)
        if found is None or not isinstance(found[1], ast.ClassDef):
            return False
        return any(found[0].resolve(base) == PAHO_CLIENT for base in found[1].bases)

    def broker_started(self, function: Function, call: ast.Call) -> str:
        """Return the name of the broker that *call* itself starts or makes; "" for none."""
        name = function.module.resolve(call.func)
        started = started_broker(function, call) or self._composed(function, call)
        if started or STARTERS.fullmatch(name):
            return started
        if name in ("amqtt.broker.Broker", "hbmqtt.broker.Broker"):
            return name.partition(".")[0]
        last = name.rpartition(".")[2]
        # A class that the tests define themselves is known by what it does.
        is_class = last[:1].isupper() and not self.called(function, call)
        return last if is_class and _BROKER_CLASS.fullmatch(last) else ""

    def starts_process(self, function: Function, call: ast.Call) -> bool:
        """Say whether *call* starts the process or container of a broker."""
        return bool(started_broker(function, call) or self._composed(function, call))

    def _composed(self, function: Function, call: ast.Call) -> str:
        """Return the broker in a compose file, where *call* starts all that is in the file."""
        words = [word.text for word in started_words(function, call)]
        is_compose = any(PurePath(word).name.endswith("compose") for word in words[:2])
        return self._broker_in_compose_file if is_compose and "up" in words else ""

    @functools.cached_property
    def _broker_in_compose_file(self) -> str:
        places = ("", "*/", "*/*/")
        files = [path for place in places for path in self.repo.glob(f"{place}*compose*.y*ml")]
        found = (BROKER_NAME.search(path.read_text(errors="replace")) for path in files)
        return next((name.group().lower() for name in found if name), "")

    # Live names

    def is_live(self, function: Function, node: ast.AST) -> bool:
        """Say whether *node* mentions something live, as seen from *function*."""
        return any(self.is_live_node(function, inner) for inner in ast.walk(node))

    def is_live_node(self, function: Function, node: ast.AST) -> bool:
        """Say whether *node* itself, not what is in it, is something live."""
        if isinstance(node, ast.Name):
            scopes: list[_Scope] = [function, function.module]
            scopes += [function.outer] if function.outer else []
            return any(node.id in self._live[scope] for scope in scopes)
        if isinstance(node, ast.Attribute) and unparsed(node.value) in ("self", "cls"):
            return function.owner is not None and node.attr in self._live[function.owner]
        if isinstance(node, ast.Call):
            if node not in self._live_calls:
                self._live_calls[node] = self._makes_something_live(function, node)
            return self._live_calls[node]
        return False

    @functools.cached_property
    def beside(self) -> set[Function]:
        """The functions that run beside the tests, which do not wait for them."""
        return functions_beside(self)

    def _makes_something_live(self, function: Function, call: ast.Call) -> bool:
        if any(self._call_makes(function, call, kind) for kind in ("client", "broker")):
            return True
        name = function.module.resolve(call.func)
        return name in MQTT_CLIENTS or self.is_service(function.module, name)

    def is_service(self, module: Module, dotted: str) -> bool:
        """Say whether it is a class of the repository, outside its tests, that uses MQTT."""
        found = self.defined(module, dotted)
        if found is None or not isinstance(found[1], ast.ClassDef) or found[0] in self.modules:
            return False
        home = found[0]
        used = [self.module_named(n.rpartition(".")[0], home.path) for n in home.imports.values()]
        return home.knows_mqtt or any(other.knows_mqtt for other in used if other)

    def is_in_use(self, function: Function) -> bool:
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

    def _follow_names_in(self, function: Function) -> None:
        for param in function.params:
            if self._is_live_param(function, param):
                self._live[function].add(param)
        if self._live[function] & set(function.params):
            self._live[function] |= function.mocks  # what the test asks what the service has done
        for node in function.own_nodes:
            for target, value in bindings(node):
                if self.is_live(function, value):
                    self._mark(function, target)
        for call in function.calls:
            for helper in self.called(function, call):
                self._follow_arguments(function, call, helper)

    def _is_live_param(self, function: Function, name: str) -> bool:
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

    def _follow_arguments(self, function: Function, call: ast.Call, helper: Function) -> None:
        params = helper.params[1:] if helper.params[:1] in (["self"], ["cls"]) else helper.params
        given = [*zip(params, call.args), *((k.arg, k.value) for k in call.keywords)]
        for param, value in given:
            if param in helper.params and self.is_live(function, value):
                self._live[helper].add(param)
            if param in self._received[helper]:
                self._mark(function, value)

    def _mark(self, function: Function, target: ast.AST) -> None:
        if isinstance(target, ast.Name):
            self._live[self._scope_of(function, target.id)].add(target.id)
        elif isinstance(target, ast.Attribute) and unparsed(target.value) in ("self", "cls"):
            if function.owner is not None:
                self._live[function.owner].add(target.attr)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._mark(function, element)

    @staticmethod
    def _scope_of(function: Function, name: str) -> _Scope:
        is_global = any(isinstance(n, ast.Global) and name in n.names for n in function.own_nodes)
        return function.module if is_global or not function.name else function

    def _note_callbacks(self, function: Function) -> None:
        """Mark what MQTT callbacks write to: what a test looks at to see what has arrived."""
        if not function.module.knows_mqtt:
            return
        if _is_callback(function.node) and not function.is_test:
            self._note_written(function, function.node, nested=False)
        for statement in function.node.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.AsyncFor) and _RECEIVED.search(unparsed(node.iter)):
                    self._note_written(function, node, nested=True)
                if isinstance(node, FUNCTIONS) and _is_callback(node):
                    self._note_written(function, node, nested=True)
                for callback in _registered_callbacks(node):
                    self._note_callback(function, callback)

    def _note_callback(self, function: Function, callback: ast.expr) -> None:
        if isinstance(callback, ast.Lambda):
            self._note_written(function, callback, nested=True)
        elif isinstance(callback, ast.Attribute) and function.owner is not None:
            for method in self._methods(function.module, function.owner, callback.attr):
                self._note_written(method, method.node, nested=False)
        elif isinstance(callback, ast.Name):
            named = [
                node
                for node in ast.walk(function.node)
                if isinstance(node, FUNCTIONS) and node.name == callback.id
            ]
            for node in named:
                self._note_written(function, node, nested=True)
            other = function.module.function(callback.id)
            if other is not None and not named:
                self._note_written(other, other.node, nested=False)
            elif not named:
                self._mark(function, callback)  # a mock: it is what the test asks

    def _note_written(self, function: Function, callback: ast.AST, *, nested: bool) -> None:
        """Mark the names that *callback* writes to and that are not its own."""
        own = {unparsed(target) for node in ast.walk(callback) for target, _ in bindings(node)}
        declared = (ast.Global, ast.Nonlocal)
        shared = {n for d in ast.walk(callback) if isinstance(d, declared) for n in d.names}
        for node in ast.walk(callback):
            for written in _written(node):
                name = unparsed(written)
                if isinstance(written, ast.Name) and name in function.params:
                    self._received[function].add(name)  # of the caller
                elif isinstance(written, ast.Name) and name not in own | shared:
                    self._live[function if nested else function.module].add(name)
                self._mark(function, written) if isinstance(written, ast.Attribute) else None
        self._live[function if nested else function.module] |= shared


def _is_callback(node: ast.AST) -> bool:
    """Say so by its name, or by what it is decorated with: `@mqtt.on_message()`."""
    if not isinstance(node, FUNCTIONS):
        return False
    decorators = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    names = (d.attr for d in decorators if isinstance(d, ast.Attribute))
    is_decorated = any(map(_CALLBACK_DECORATOR.fullmatch, names))
    return is_decorated or bool(_CALLBACK.fullmatch(node.name))


def _registered_callbacks(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and _CALLBACK.fullmatch(target.attr):
                yield node.value
    elif isinstance(node, ast.Call) and called_name(node) == "message_callback_add":
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
