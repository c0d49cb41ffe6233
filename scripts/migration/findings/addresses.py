"""Finds the fixed ports and client ids, which keep two tests from running at once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .finding import Finding
from .parsing import (
    MQTT_CLIENTS,
    Function,
    Module,
    called_name,
    keyword_value,
    shortened,
    strings_in,
    unparsed,
)
from .programs import BROKER_NAME
from .suite import Suite

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

_BROKER_PORTS = {1883, 8883, "1883", "8883"}
_SEQUENCES = (ast.List, ast.Tuple)
_PORT_NAME = re.compile(r"(\w*_)?port", re.I)
_BROKER_URL = re.compile(r"\bmqtts?://[^/\s]*:\d+")
_BROKER_CONFIG = re.compile(r"^\s*(listener|port)\s+\d+|mosquitto\b.*\s-p\s*\d+", re.M)
_USE_OUR_PORT = (
    "the broker's own: test_mqtt_broker.port, or **test_mqtt_broker.get_connection_params(); "
    "redirect_to_test_broker() for a service that cannot be told"
)


def check_ports(suite: Suite, module: Module) -> Iterator[Finding]:
    """Find the ports of brokers that are written out."""
    for node in outside_of_assertions(module.tree):
        for place in (*_named_ports(node), *_written_out_ports(node), *_command_line_ports(node)):
            yield _fixed_port(module, place, shortened(place))
    for function in module.functions:
        for call in function.calls:
            if call.args and suite.starts_process(function, call):
                for place in _port_options(call.args[0]):
                    yield _fixed_port(module, place, shortened(place))
            if called_name(call) in ("connect", "connect_async") and _is_on_live(
                suite, function, call
            ):
                yield from _ports_of_connection(module, call)


def _fixed_port(module: Module, node: ast.expr, how: str) -> Finding:
    what = f"a hard-coded broker port: {how}"
    return Finding(module.path, node.lineno, "fixed-port", what, _USE_OUR_PORT, False)


def outside_of_assertions(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what is done, not what is expected or explained."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if not isinstance(child, ast.Assert) and not is_docstring:
            yield from outside_of_assertions(child)


def _is_broker_port(node: ast.AST | None) -> TypeGuard[ast.expr]:
    return isinstance(node, ast.Constant) and node.value in _BROKER_PORTS and node.value is not True


def _named_ports(node: ast.AST) -> Iterator[ast.expr]:
    """Yield 1883 and 8883 where something called a port is set to them."""
    for name, value in named_values(node):
        if _PORT_NAME.fullmatch(name) and _is_broker_port(value):
            yield value


def named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield what is given a name in *node*: settings, arguments and their defaults."""
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
    yield from ((name, v) for name, v in pairs if isinstance(name, str) and isinstance(v, ast.expr))


def _last_word(target: ast.expr) -> object:
    if isinstance(target, ast.Subscript):
        return getattr(target.slice, "value", None)
    return unparsed(target).rpartition(".")[2]


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
    if isinstance(node, _SEQUENCES) and any(map(BROKER_NAME.search, strings_in(node))):
        yield from _port_options(node)


def _port_options(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, _SEQUENCES):
        for option, value in zip(node.elts, node.elts[1:]):
            number = str(getattr(value, "value", ""))
            if strings_in(option) == ["-p"] and number.isdigit():
                yield value


def _is_on_live(suite: Suite, function: Function, call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and suite.is_live(function, call.func.value)


def _ports_of_connection(module: Module, call: ast.Call) -> Iterator[Finding]:
    port = keyword_value(call, "port") or (call.args[1] if len(call.args) > 1 else None)
    host = keyword_value(call, "host") or (call.args[0] if call.args else None)
    if port is None and module.string(host) is not None:
        yield _fixed_port(module, call, f"{shortened(call)} takes 1883, the default")
    elif isinstance(port, ast.Constant) and isinstance(port.value, int) and port.value:
        yield _fixed_port(module, port, shortened(call))


def check_client_ids(suite: Suite, module: Module) -> Iterator[Finding]:
    """Find the client ids that are written out."""
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


def _client_id(suite: Suite, module: Module, call: ast.Call) -> ast.expr | None:
    if suite.is_paho(module, call.func):
        # First in paho 1.6; in 2.x the version of the callbacks comes before it.
        strings = [arg for arg in call.args[:2] if module.string(arg) is not None]
        return keyword_value(call, "client_id") or next(iter(strings), None)
    name = module.resolve(call.func)
    if name in MQTT_CLIENTS:
        return keyword_value(call, "identifier") or keyword_value(call, "client_id")
    if name.startswith("paho.mqtt.") or suite.is_service(module, name):
        return keyword_value(call, "client_id")
    return None
