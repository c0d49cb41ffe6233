"""The suite's own broker fixtures, and fixtures of ours that give the same of our broker."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..findings.connections import Connections
from ..findings.parsing import Function, called_name, unparsed
from ..findings.suite import Suite

OURS = "session_mqtt_broker"
_BROKER = re.compile(r"broker|mosquitto", re.I)
_PORT = re.compile(r"port\b|port_|_port", re.I)
_HOST = re.compile(r"host|addr|server|\bip\b", re.I)
_URL = re.compile(r"url|uri", re.I)
_PLACE = re.compile(r"broker|mosquitto|mqtt_?(host|port|ur[il]|addr\w*|server|params)", re.I)
_SECURED = re.compile(r"passw|mosquitto_passwd|cafile|certfile|tls|allow_anonymous false", re.I)
_FIRST_PORT, _LAST_PORT = 1024, 65535
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADDRESS = re.compile(r"^(?P<scheme>\w+://)?(localhost|127\.0\.0\.1):\d+$")
_KNOWN = {
    *("host", "port", "pid", "log", "start", "stop", "restart", "kill", "pause", "resume"),
    *("disconnect_clients", "is_running", "wait_for_ready", "get_connection_params"),
    *("terminate", "poll", "wait", "communicate", "send_signal", "returncode", "args"),
}


@dataclass(frozen=True)
class OwnBroker:
    """A fixture of the suite's own broker, and what it gives."""

    function: Function
    gives: str
    """The same of our broker, as an expression of `broker`; empty where it gives nothing."""
    remarks: tuple[str, ...] = ()
    port: int | None = None
    """The port that it is fixed to."""
    names: frozenset[str] = field(default_factory=frozenset)
    """Names of its module that the expression needs."""

    @property
    def name(self) -> str:
        """What the tests ask for it by."""
        return self.function.fixture_name

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{self.function.module.path}:{self.function.node.lineno}"  # type: ignore[union-attr]


def own_brokers(suite: Suite) -> list[OwnBroker]:
    """Return the fixtures that start a broker, and those that say where it is."""
    own = [function for function in suite.fixtures() if not _is_ours(suite, function)]
    starting = [
        f for f in own if (suite.starts_broker(f) and not _is_secured(f)) or _names_a_broker(f)
    ]
    found = {f.fixture_name: _described(suite, f) for f in starting if _gives_no_service(suite, f)}
    related = {name for broker in found.values() for name in broker.function.params}
    for function in suite.fixtures():
        name = function.fixture_name
        asks = set(function.params) & found.keys()
        tells_where = bool(_BROKER.search(name)) and bool(asks)
        is_part = name in related and bool(_PORT.search(name) or _HOST.search(name))
        if name not in found and (tells_where or is_part) and _returns_place(function):
            found[name] = _described(suite, function)
    return list(found.values())


def _is_ours(suite: Suite, function: Function) -> bool:
    return suite.is_overridden(function.fixture_name) or OURS in function.params


def _is_secured(function: Function) -> bool:
    """Return whether a broker asks for what ours does not, which its tests are about."""
    return bool(_SECURED.search(unparsed(function.node)))


def _names_a_broker(function: Function) -> bool:
    """Return whether it says where a broker is that is not started here."""
    return bool(_PLACE.search(function.fixture_name)) and _returns_place(function)


def needs_redirection(suite: Suite) -> bool:
    """Return whether it takes one for the service and the tests to meet on one broker.

    That is where a broker of the suite is at a fixed port, or is nothing that it gives, or where
    there is none, and tests connect clients of their own.
    """
    brokers = own_brokers(suite)
    fixed = any(not broker.gives or broker.port is not None for broker in brokers)
    return fixed or (not brokers and Connections(suite).of_tests())


def _gives_no_service(suite: Suite, function: Function) -> bool:
    """Return whether it is a broker's own fixture, and not that of a service beside its broker."""
    made = (function.module.resolve(c.func) for c in function.calls)
    return not any(suite.is_service(function.module, name) for name in made)


def _returns_place(function: Function) -> bool:
    """Return whether a fixture gives nothing but where the broker is."""
    given = _given_by(function)
    text = unparsed(given) if given is not None else ""
    name = function.fixture_name
    told = (_PORT, _HOST, _URL)
    return any(p.search(text) or p.search(name) for p in told) and "Client" not in text


def _described(suite: Suite, function: Function) -> OwnBroker:
    given = _given_by(function)
    port = next(iter(_fixed_ports(function)), None)
    if given is None or (isinstance(given, ast.Constant) and given.value is None):
        return OwnBroker(function, "", port=port)
    assigned = {name: values[-1] for name, values in function.bound.items()}
    translation = _Translation(suite, function, assigned)
    expression = translation.of(given, function.fixture_name)
    used = (
        _attributes_used(suite, function.fixture_name) if unparsed(expression) == "broker" else {}
    )
    remarks = tuple(
        f"{place}: ours has no .{name}; write it another way" for name, place in used.items()
    )
    names = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name)} - {"broker"}
    return OwnBroker(
        function, unparsed(expression), (*translation.remarks, *remarks), port, frozenset(names)
    )


def _given_by(function: Function) -> ast.expr | None:
    for node in function.own_nodes:
        if isinstance(node, ast.Yield):
            return node.value
    returned = (n.value for n in function.own_nodes if isinstance(n, ast.Return))
    return next(filter(None, returned), None)


def _fixed_ports(function: Function) -> Iterator[int]:
    """Yield the ports that are written out where it starts the broker."""
    for call in function.calls:
        for node in ast.walk(call):
            text = function.module.string(node) if isinstance(node, ast.expr) else None
            value = text or getattr(node, "value", None)
            if isinstance(node, ast.Name):
                value = _constant_of(function, node.id)
            if str(value).isdigit() and _FIRST_PORT <= int(str(value)) <= _LAST_PORT:
                yield int(str(value))


def _constant_of(function: Function, name: str) -> object:
    for statement in function.module.tree.body:
        if isinstance(statement, ast.Assign) and name in map(unparsed, statement.targets):
            return getattr(statement.value, "value", None)
    return None


def _attributes_used(suite: Suite, fixture: str) -> dict[str, str]:
    """Return the attributes that tests and fixtures use of it and ours has not, with a place."""
    found: dict[str, str] = {}
    for module in suite.modules:
        for function in module.functions:
            if fixture in function.params:
                for node in function.own_nodes:
                    is_used = isinstance(node, ast.Attribute) and unparsed(node.value) == fixture
                    if is_used and isinstance(node, ast.Attribute) and node.attr not in _KNOWN:
                        found.setdefault(node.attr, f"{module.path}:{node.lineno}")
    return found


class _Translation:
    """What a fixture gives, in terms of our broker."""

    def __init__(self, suite: Suite, function: Function, assigned: dict[str, ast.expr]) -> None:
        self._suite = suite
        self._function = function
        self._assigned = assigned
        self.remarks: list[str] = []

    def of(self, node: ast.expr, name: str) -> ast.expr:
        """Translate an expression that is called *name*, or tells by itself what it is."""
        if isinstance(node, (ast.Tuple, ast.List)):
            elements = [self.of(element, _word(element)) for element in node.elts]
            return type(node)(elements, ast.Load())
        if isinstance(node, ast.Dict):
            words = [str(getattr(key, "value", "")) for key in node.keys]
            values = [self.of(v, word) for v, word in zip(node.values, words)]
            return ast.Dict(node.keys, values)
        if isinstance(node, ast.JoinedStr):
            return ast.JoinedStr([self._part(part) for part in node.values])
        if isinstance(node, ast.Constant):
            return self._constant(node)
        return self._scalar(node, name)

    def _part(self, part: ast.expr) -> ast.expr:
        if isinstance(part, ast.FormattedValue):
            inner = self.of(part.value, _word(part.value))
            return ast.FormattedValue(inner, part.conversion, part.format_spec)
        return part

    def _constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return _parsed("broker.port")
        if node.value in _LOOPBACK:
            return _parsed("broker.host")
        address = _ADDRESS.match(node.value) if isinstance(node.value, str) else None
        if address:
            return _parsed(f"f'{address['scheme'] or ''}{{broker.host}}:{{broker.port}}'")
        return node

    def _scalar(self, node: ast.expr, name: str) -> ast.expr:
        value = self._assigned.get(unparsed(node))
        if value is not None and isinstance(value, (ast.Tuple, ast.Dict, ast.JoinedStr)):
            return self.of(value, name)
        if isinstance(node, ast.Call) and self._is_record(node):
            positional = [self.of(a, _word(a)) for a in node.args]
            keywords = [ast.keyword(k.arg, self.of(k.value, k.arg or "")) for k in node.keywords]
            return ast.Call(node.func, positional, keywords)
        word = _word(node)
        starts = isinstance(value, ast.Call) and self._starts(value)
        if not starts:
            for pattern, expression in (
                (_URL, "f'mqtt://{broker.host}:{broker.port}'"),
                (_PORT, "broker.port"),
                (_HOST, "broker.host"),
            ):
                if pattern.search(word) or (pattern.search(name) and not _BROKER.search(word)):
                    return _parsed(expression)
        return _parsed("broker")

    def _starts(self, call: ast.Call) -> bool:
        return self._suite.call_starts_broker(self._function, call)

    def _is_record(self, call: ast.Call) -> bool:
        """Return whether it is a record of a host and a port, rather than a broker."""
        words = [k.arg or "" for k in call.keywords] + [_word(a) for a in call.args]
        is_place = any(map(_PORT.search, words)) and any(map(_HOST.search, words))
        return is_place and not self._starts(call) and called_name(call)[:1] != "_"


def _word(node: ast.expr) -> str:
    return unparsed(node.func if isinstance(node, ast.Call) else node).rpartition(".")[2]


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
