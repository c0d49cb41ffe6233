"""What a statement that starts mosquitto by hand becomes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .finding import Rewrite
from .parsing import DEFINITIONS, Function, Module, blocks_in, unparsed
from .sleeps import SLEEPS
from .suite import Suite

_BROKER_MODULE = "mqtt_test_broker"
_BROKER_CLASS = "TestMQTTBroker"
_DEFAULT_PORT = "1883"
_HARMLESS_OPTIONS = {"-v", "--verbose", "-d", "--daemon", "-q", "--quiet"}
_OF_A_PROCESS_ONLY = {"communicate", "stdin", "stdout", "stderr", "send_signal", "returncode"}


@dataclass(frozen=True)
class Start:
    """A statement that starts mosquitto."""

    function: Function
    call: ast.Call
    replacement: str
    """The statement to write instead, of it and of the sleep behind it."""
    rewrites: tuple[Rewrite, ...] = ()
    """What `fix` does, where the replacement is certain."""


def find_starts(suite: Suite, module: Module) -> Iterator[Start]:
    """Yield the statements outside of tests and fixtures that start mosquitto by hand."""
    for function in module.functions:
        if not function.is_test and function.fixture_scope is None:
            yield from _starts_in(suite, function, function.node.body)


def _starts_in(suite: Suite, function: Function, block: list[ast.stmt]) -> Iterator[Start]:
    for statement, following in zip(block, [*block[1:], None]):
        call = getattr(statement, "value", None)
        if isinstance(call, ast.Call) and suite.starts_process(function, call):
            yield _start(suite, function, statement, call, following)
        # What a definition in the block does, it does when it is called.
        inner_blocks = [] if isinstance(statement, DEFINITIONS) else blocks_in(statement)
        for inner in inner_blocks:
            yield from _starts_in(suite, function, inner)


def _start(
    suite: Suite,
    function: Function,
    statement: ast.stmt,
    call: ast.Call,
    following: ast.stmt | None,
) -> Start:
    port = _port_in(_words_of(call))
    head = "broker = "
    if isinstance(statement, ast.Assign):
        head = f"{unparsed(statement.targets[-1])} = "
    elif isinstance(statement, ast.Return):
        head = "return "
    options = f"port={port}" if port else "port=..., config_lines=[...]"
    replacement = f"{head}{_BROKER_CLASS}({options}).start()"
    is_certain = (
        port is not None
        and following is not None
        and isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and function.module.resolve(call.func) == "subprocess.Popen"
        and _is_sleep(function, following)
        and all(map(function.module.stands_alone, (statement, following)))
        and _can_be_imported(suite, function.module)
        and not _process_is_used(suite)
    )
    if not is_certain or following is None:
        return Start(function, call, replacement)
    dot = "." if _is_in_package(suite, function.module) else ""
    imported = f"from {dot}{_BROKER_MODULE} import {_BROKER_CLASS}"
    rewrites = (
        Rewrite(statement.lineno, (replacement,), imported),
        Rewrite(following.lineno, ()),
    )
    return Start(function, call, replacement, rewrites)


def _words_of(call: ast.Call) -> Sequence[ast.expr]:
    """Return the command line, as far as it is written out."""
    command = call.args[0] if call.args else None
    if isinstance(command, (ast.List, ast.Tuple)):
        return command.elts
    if isinstance(command, ast.Constant) and isinstance(command.value, str):
        return [ast.Constant(word) for word in command.value.split()]
    return []


def _port_in(words: Sequence[ast.expr]) -> str | None:
    """Return the port that mosquitto is to listen on; None if its command line says more."""
    rest = list(words)
    if not rest or not _is_executable(rest.pop(0)):
        return None
    port: str | None = _DEFAULT_PORT
    while rest:
        option = getattr(rest.pop(0), "value", None)
        if option in ("-p", "--port") and rest:
            port = _number(rest.pop(0))
        elif option not in _HARMLESS_OPTIONS:
            return None
    return port


def _is_executable(word: ast.expr) -> bool:
    """Say whether it is mosquitto's path, or a name, which has been looked into by now."""
    value = getattr(word, "value", None) if isinstance(word, ast.Constant) else None
    return isinstance(word, ast.Name) or bool(re.fullmatch(r"(.*/)?mosquitto", str(value)))


def _number(word: ast.expr) -> str | None:
    """Return the expression of a number that is given as a text: `1883`, `port`."""
    if isinstance(word, ast.Constant):
        return str(word.value) if str(word.value).isdigit() else None
    if isinstance(word, ast.Call) and unparsed(word.func) == "str" and len(word.args) == 1:
        return unparsed(word.args[0])
    if isinstance(word, ast.JoinedStr) and len(word.values) == 1:
        value = word.values[0]
        return unparsed(value.value) if isinstance(value, ast.FormattedValue) else None
    return None


def _is_sleep(function: Function, statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and function.module.resolve(call.func) in SLEEPS


def _can_be_imported(suite: Suite, module: Module) -> bool:
    beside = (ours.path for ours in suite.ours if ours.path.parent == module.path.parent)
    return module.is_rewritable and any(path.stem == _BROKER_MODULE for path in beside)


def _is_in_package(suite: Suite, module: Module) -> bool:
    return suite.has_file(module.path.parent / "__init__.py")


def _process_is_used(suite: Suite) -> bool:
    """Say whether any test file does with a process what cannot be done with a broker."""
    nodes = (node for module in suite.modules for node in ast.walk(module.tree))
    return any(isinstance(n, ast.Attribute) and n.attr in _OF_A_PROCESS_ONLY for n in nodes)
