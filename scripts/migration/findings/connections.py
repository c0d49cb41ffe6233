"""Where the clients of a suite and its service connect to, as far as that is written out."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Optional
from urllib.parse import urlsplit

from .addresses import named_values, outside_of_assertions
from .parsing import Function, Module, called_name, keyword_value, strings_in, unparsed
from .suite import Suite
from .values import Values

REDIRECT, LOOPBACK = "redirect_to_test_broker", "LOOPBACK_HOSTS"
USUAL_PORT = 1883
_TLS_PORT = 8883
_PORTS = {USUAL_PORT, _TLS_PORT}
_AT_ONCE = re.compile(r"paho\.mqtt\.(publish\.(single|multiple)|subscribe\.(simple|callback))")
_ASYNC_CLIENTS = {"aiomqtt.Client", "asyncio_mqtt.Client"}
_SETTING = re.compile(r"(^|[_-])(mqtt|broker|mosquitto)", re.I)
_PORT = re.compile(r"port", re.I)
_HOST = re.compile(r"host|hostname|server|addr|address|url|uri|broker", re.I)
_URL = re.compile(r"mqtts?://[^\s/{}]+")
_NAME = re.compile(r"[\w.:-]*[a-z0-9]", re.I)
_NOBODY = re.compile(
    r"invalid|non-?exist|no-?such|unreachable|unknown|missing|wrong|\bbad\b|does-?not|"
    r"^(192\.0\.2|198\.51\.100|203\.0\.113)\.|\.(conf|json|log|pid|py|sock|toml|ya?ml)$",
    re.I,
)
"""Hosts of tests that want no connection, networks for examples, and files."""

_Place = tuple[Optional[ast.expr], Optional[ast.expr]]


@dataclass(frozen=True)
class Addresses:
    """The hosts and ports that clients are told."""

    hosts: frozenset[str] = frozenset()
    """Those of other machines."""
    ports: frozenset[int] = frozenset()


class Connections:
    """Finds them."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._values = Values(suite)

    def addresses(
        self, replaced: Set[int] = frozenset(), asked_for: Iterable[tuple[str, int]] = ()
    ) -> Addresses:
        """Return those of the suite and the service, and the ports of brokers that are *replaced*.

        Ports on which tests start other brokers lead to those. What a run has *asked_for* counts
        where the port is one of MQTT.
        """
        told = [*self._told_in(self._suite.everything), *self._settings()]
        told += (part for place in asked_for if place[1] in _PORTS for part in place)
        hosts, ports = _sorted_out(told)
        own = set(self._own_ports()) - {USUAL_PORT}
        return Addresses(frozenset(hosts), frozenset(ports - own | replaced))

    def of_tests(self) -> bool:
        """Return whether tests connect clients of their own to an address that is written out."""
        return bool(_sorted_out(self._told_in(self._suite.modules))[1])

    def _told_in(self, modules: Iterable[Module]) -> Iterator[object]:
        for module in modules:
            refused = _refused(module)
            for function in module.functions if module.knows_mqtt else ():
                for call in function.calls:
                    place = None if call in refused else _place_told(function, call)
                    if place is not None:
                        yield from self._told(function, *place)

    def _told(
        self, function: Function, host: ast.expr | None, port: ast.expr | None
    ) -> Iterator[object]:
        hosts = list(self._values.of(function, host))
        yield from hosts
        if port is not None:
            yield from self._values.of(function, port)
        elif not any("://" in str(each) for each in hosts):  # a URL has its port in it
            yield USUAL_PORT

    def _settings(self) -> Iterator[object]:
        """Yield what is called the host or port of a broker, and the URLs of brokers."""
        for module in self._suite.everything:
            refused = _refused(module)
            for node in outside_of_assertions(module.tree):
                if node in refused:
                    continue
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from _URL.findall(node.value)
                for name, value in (*named_values(node), *_option(node)):
                    yield from _setting(name, value)

    def _own_ports(self) -> Iterator[object]:
        for module in self._suite.modules:
            for function in module.functions:
                for call in function.calls:
                    if self._suite.starts_process(function, call):
                        yield from self._ports_of_start(function, call)

    def _ports_of_start(self, function: Function, call: ast.Call) -> Iterator[object]:
        for node in ast.walk(call):
            words: Sequence[ast.expr] = getattr(node, "elts", ())
            for option, value in zip(words, words[1:]):
                if strings_in(option) in (["-p"], ["--port"]):
                    yield from map(_number, self._values.of(function, value))
        for text in strings_in(call):
            yield from map(int, re.findall(r"\s-p\s*(\d+)", text))


def _refused(module: Module) -> set[ast.AST]:
    """Return what is done where a test wants an error of it."""
    blocks = (node for node in ast.walk(module.tree) if isinstance(node, (ast.With, ast.AsyncWith)))
    wanting = (b for b in blocks if any("aises" in unparsed(i.context_expr) for i in b.items))
    return {node for block in wanting for part in block.body for node in ast.walk(part)}


def _place_told(function: Function, call: ast.Call) -> _Place | None:
    """Return the host and the port that a call connects a client to."""
    name = function.module.resolve(call.func)
    if _AT_ONCE.fullmatch(name):
        return _given(call, "hostname", ())
    if name in _ASYNC_CLIENTS:
        return _given(call, "hostname", call.args)
    return _given(call, "host", call.args) if _connects_a_client(function, call) else None


def _connects_a_client(function: Function, call: ast.Call) -> bool:
    if called_name(call) not in ("connect", "connect_async") or not (call.args or call.keywords):
        return False
    is_of_socket = any(isinstance(argument, ast.Tuple) for argument in call.args)
    if is_of_socket or not isinstance(call.func, ast.Attribute):
        return False
    imported = function.module.imports.get(unparsed(call.func.value), ".")
    return "." in imported  # sqlite3.connect() is of a module


def _given(call: ast.Call, host: str, args: Sequence[ast.expr]) -> _Place:
    for whole in (keyword.value for keyword in call.keywords if keyword.arg is None):
        return _entry(whole, host), _entry(whole, "port")
    first = keyword_value(call, host) or next(iter(args), None)
    return first, keyword_value(call, "port") or next(iter(args[1:]), None)


def _entry(node: ast.expr, key: str) -> ast.expr:
    return ast.Subscript(node, ast.Constant(key), ast.Load())


def _option(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the name and the default of an option of the command line."""
    if isinstance(node, ast.Call) and called_name(node) in ("add_argument", "option"):
        default = keyword_value(node, "default")
        names = [text.lstrip("-") for argument in node.args for text in strings_in(argument)]
        yield from ((name, default) for name in names if default is not None)


def _setting(name: str, node: ast.expr) -> Iterator[object]:
    value = node.value if isinstance(node, ast.Constant) else None
    last = re.split(r"[_-]", name)[-1]
    is_of_broker = bool(_SETTING.search(name))
    is_port = bool(_PORT.fullmatch(last))
    number = _number(value)
    if is_port and (is_of_broker or number in _PORTS):
        yield number
    elif is_of_broker and _HOST.fullmatch(last) and isinstance(value, str):
        # A name of a host, rather than what a broker is called.
        yield value if "." in value or not _HOST.fullmatch(name) else None


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _sorted_out(told: Iterable[object]) -> tuple[set[str], set[int]]:
    """Return the hosts of other machines, and the ports."""
    hosts: set[str] = set()
    ports: set[int] = set()
    for value in map(_number, told):
        if isinstance(value, str) and "://" in value:
            host, port = _parts_of_url(value)
            hosts.add(host)
            ports.add(port)
        elif isinstance(value, str):
            hosts.add(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            ports.add(value)
    return set(filter(_is_elsewhere, hosts)), {port for port in ports if 0 < port < 65536}


def _parts_of_url(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        usual = _TLS_PORT if parts.scheme == "mqtts" else USUAL_PORT
        return parts.hostname or "", parts.port or usual
    except ValueError:  # the port is none
        return "", 0


def _is_elsewhere(host: str) -> bool:
    """Return whether it is the name of another machine that tests want to reach."""
    if not _NAME.fullmatch(host) or _NOBODY.search(host):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return not re.fullmatch(r"(.*\.)?localhost(\.localdomain)?|ip6-l\w+", host, re.I)
    return not (address.is_loopback or address.is_unspecified)


def as_call(addresses: Addresses) -> str:
    """Return the call that leads connections there to our broker, on one line."""
    words = [] if addresses.ports == {USUAL_PORT} else [*map(str, sorted(addresses.ports))]
    if addresses.hosts:
        hosts = [f'"{host}"' for host in sorted(addresses.hosts)]
        words.append(f"hosts=[{', '.join([*hosts, f'*{LOOPBACK}'])}]")
    return f"{REDIRECT}({', '.join(words)})"
