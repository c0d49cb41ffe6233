"""What a statement that starts a broker by hand becomes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .finding import Rewrite
from .importing import CannotImportError, import_of_ours
from .parsing import (
    DEFINITIONS,
    Function,
    Module,
    blocks_in,
    called_name,
    shortened,
    unparsed,
    walk_own,
)
from .sleeps import SLEEPS
from .suite import Suite

_BROKER_MODULE = "mqtt_test_broker"
_BROKER_CLASS = "TestMQTTBroker"
_DEFAULT_PORT = "1883"
_HARMLESS_OPTIONS = {"-v", "--verbose", "-d", "--daemon", "-q", "--quiet"}
_OF_A_PROCESS_ONLY = {"stdin", "stdout", "stderr"}


@dataclass(frozen=True)
class Start:
    """A statement that starts a broker."""

    function: Function
    call: ast.Call
    broker: str
    replacement: str
    """The statement to write instead, of it and of the sleep behind it."""
    sleep: ast.stmt | None = None
    """The sleep behind it: one cause, one finding."""
    rewrites: tuple[Rewrite, ...] = ()
    """What `fix` does, where the replacement is certain."""
    doubt: str = ""
    """Why it is not."""


class _NotCertainError(Exception):
    """Why a start is left to the user."""


def find_starts(suite: Suite, module: Module) -> Iterator[Start]:
    """Yield the statements that start a broker by hand, each with the sleep behind it."""
    for function in module.functions:
        yield from _starts_in(suite, function, function.node.body)


def _starts_in(suite: Suite, function: Function, block: list[ast.stmt]) -> Iterator[Start]:
    for statement, following in zip(block, [*block[1:], None]):
        inner_blocks = blocks_in(statement)
        own = [statement] if not inner_blocks else _heads_of(statement)
        calls = [n for part in own for n in walk_own(part) if isinstance(n, ast.Call)]
        for call in calls:
            if suite.starts_process(function, call):
                yield _start(suite, function, statement, call, following)
                break
        # What a definition in the block does, it does when it is called.
        for inner in [] if isinstance(statement, DEFINITIONS) else inner_blocks:
            yield from _starts_in(suite, function, inner)


def _heads_of(statement: ast.stmt) -> list[ast.expr]:
    """Return what a compound statement does before its blocks: what `with` enters."""
    return [item.context_expr for item in getattr(statement, "items", ())]


def _start(
    suite: Suite,
    function: Function,
    statement: ast.stmt,
    call: ast.Call,
    following: ast.stmt | None,
) -> Start:
    broker = suite.broker_started(function, call)
    port = _port_in(_words_of(call)) if broker == "mosquitto" else _DEFAULT_PORT
    head = "broker = "
    if isinstance(statement, ast.Assign):
        head = f"{unparsed(statement.targets[-1])} = "
    elif isinstance(statement, ast.Return):
        head = "return "
    options = f"port={port}" if port else "port=..., config_lines=[...]"
    replacement = f"{head}{_BROKER_CLASS}({options}).start()"
    sleep = following if following is not None and _is_sleep(function, following) else None
    try:
        _check_program(function, call, broker, port)
        _check_statement(function, statement, call, sleep)
        _check_use(suite)
        imported = import_of_ours(suite, function.module, _BROKER_MODULE, _BROKER_CLASS)
    except (_NotCertainError, CannotImportError) as error:
        return Start(function, call, broker, replacement, sleep, doubt=str(error))
    assert sleep is not None
    rewrites = (
        Rewrite(statement.lineno, (replacement,), imported),
        Rewrite(sleep.lineno, ()),
    )
    return Start(function, call, broker, replacement, sleep, rewrites)


# --- What keeps a start from being certain ------------------------------------------------------


def _check_program(function: Function, call: ast.Call, broker: str, port: str | None) -> None:
    starter = function.module.resolve(call.func)
    if broker != "mosquitto":
        raise _NotCertainError(
            f"it is {broker}, which TestMQTTBroker, a mosquitto, may not replace"
        )
    if starter != "subprocess.Popen":
        raise _NotCertainError(f"{starter}() gives something else than subprocess.Popen()")
    if port is None:
        raise _NotCertainError("its command line is not written out, or says more than a port")


def _check_statement(
    function: Function, statement: ast.stmt, call: ast.Call, sleep: ast.stmt | None
) -> None:
    is_plain = isinstance(statement, ast.Assign) and statement.value is call
    if not is_plain or len(getattr(statement, "targets", ())) != 1:
        raise _NotCertainError("its process is not assigned to one name")
    if sleep is None:
        raise _NotCertainError("no sleep stands right behind it")
    if not all(map(function.module.stands_alone, (statement, sleep))):
        raise _NotCertainError("it shares its line with something else")
    if not function.module.is_rewritable:
        raise _NotCertainError("its file is not in UTF-8, or has line ends of its own kind")


def _check_use(suite: Suite) -> None:
    """Raise if a test file may do with the process what cannot be done with a broker."""
    for function in (function for module in suite.modules for function in module.functions):
        attributes = (n for n in function.own_nodes if isinstance(n, ast.Attribute))
        for node in (n for n in attributes if n.attr in _OF_A_PROCESS_ONLY):
            if not _is_of_another(suite, function, node.value):
                place = f"{function.module.path}:{node.lineno}"
                raise _NotCertainError(f"{place} may need its process: {shortened(node)}")


def _is_of_another(suite: Suite, function: Function, node: ast.expr) -> bool:
    """Say whether *node* is certainly no broker's process: what is bound here, to other calls."""
    if isinstance(node, ast.Call):
        return function.module.resolve(node.func) == "subprocess.run"
    values = function.bound.get(unparsed(node), [])
    made = [value.value if isinstance(value, ast.Await) else value for value in values]
    is_known = all(isinstance(value, ast.Call) for value in made) and not suite.is_live(
        function, node
    )
    return unparsed(node) == "sys" or (bool(made) and is_known)


# --- The command line ---------------------------------------------------------------------------


def _words_of(call: ast.Call) -> Sequence[ast.expr]:
    """Return the command line, as far as it is written out."""
    command = call.args[0] if call.args else None
    if isinstance(command, ast.Call) and called_name(command) == "split" and not command.args:
        command = getattr(command.func, "value", None)
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
    call = call.value if isinstance(call, ast.Await) else call
    return isinstance(call, ast.Call) and function.module.resolve(call.func) in SLEEPS
