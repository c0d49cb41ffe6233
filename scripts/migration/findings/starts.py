"""What a statement that starts a broker by hand becomes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .finding import Rewrite
from .importing import CannotImportError, import_of_ours
from .parsing import (
    DEFINITIONS,
    Function,
    Module,
    bindings,
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
_PROCESS = re.compile(r"\b(subprocess\.)?Popen\b(\[\w+\])?")
_NOWHERE = re.compile(r"(subprocess\.)?(DEVNULL|PIPE|STDOUT)|None|-?\d+")


@dataclass(frozen=True)
class Start:
    """A statement that starts a broker."""

    function: Function
    call: ast.Call
    broker: str
    replacement: str
    """The statement to write instead, of it and of the sleep behind it."""
    sleep: ast.stmt | None = None
    """The sleep right behind it."""
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
    for index, statement in enumerate(block):
        for call in _calls_before_blocks(statement):
            if suite.starts_process(function, call):
                yield _start(suite, function, call, statement, block[index + 1 :])
                break
        for inner in _blocks_run_with(statement):
            yield from _starts_in(suite, function, inner)


def _blocks_run_with(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return its blocks; what a definition does, it does when it is called."""
    return [] if isinstance(statement, DEFINITIONS) else blocks_in(statement)


def _calls_before_blocks(statement: ast.stmt) -> list[ast.Call]:
    """Return what a statement calls; of a compound one, what `with` enters."""
    heads = [item.context_expr for item in getattr(statement, "items", ())]
    parts = heads if blocks_in(statement) else [statement]
    return [n for part in parts for n in walk_own(part) if isinstance(n, ast.Call)]


def sleep_behind(function: Function, call: ast.Call) -> ast.stmt | None:
    """Return the sleep for what *call* starts: nothing else is done before it."""
    return _sleep_behind(function, call, function.node.body)


def _sleep_behind(function: Function, call: ast.Call, block: list[ast.stmt]) -> ast.stmt | None:
    for index, statement in enumerate(block):
        if call in _calls_before_blocks(statement):
            inside = blocks_in(statement)
            return _first_sleep(function, statement, inside[0] if inside else block[index + 1 :])
        for inner in _blocks_run_with(statement):
            found = _sleep_behind(function, call, inner)
            if found is not None:
                return found
    return None


def _first_sleep(
    function: Function, start: ast.stmt, behind: Iterable[ast.stmt]
) -> ast.stmt | None:
    """Return the first sleep *behind* a start, unless something else is done before."""
    names = {unparsed(target) for node in ast.walk(start) for target, _ in bindings(node)}
    for statement in behind:
        if _is_sleep(function, statement):
            return statement
        if not any(unparsed(n) in names for n in ast.walk(statement) if isinstance(n, ast.expr)):
            return None
        names |= {unparsed(target) for node in ast.walk(statement) for target, _ in bindings(node)}
    return None


def _start(
    suite: Suite,
    function: Function,
    call: ast.Call,
    statement: ast.stmt,
    behind: Sequence[ast.stmt],
) -> Start:
    broker = suite.broker_started(function, call)
    words = _words_of(call)
    port = _port_in(function.module, words) if broker == "mosquitto" else _DEFAULT_PORT
    head = "broker = "
    if isinstance(statement, ast.Assign):
        head = f"{unparsed(statement.targets[-1])} = "
    elif isinstance(statement, ast.Return):
        head = "return "
    options = f"port={port}" if port else "port=..., config_lines=[...]"
    replacement = f"{head}{_BROKER_CLASS}({options}).start()"
    sleep = next((s for s in behind[:1] if _is_sleep(function, s)), None)
    try:
        _check_program(function, call, broker, port)
        _check_statement(function, statement, call, sleep)
        _check_use(suite)
        imported = import_of_ours(suite, function.module, _BROKER_MODULE, _BROKER_CLASS)
    except (_NotCertainError, CannotImportError) as error:
        return Start(function, call, broker, replacement, sleep, doubt=str(error))
    assert sleep is not None
    result = _returned_at_once(function, statement, behind[1:])
    rewrites = (
        Rewrite(statement.lineno, () if result else (replacement,), imported),
        Rewrite(sleep.lineno, ()),
        *([Rewrite(result.lineno, (f"return {replacement[len(head) :]}",))] if result else ()),
    )
    return Start(function, call, broker, replacement, sleep, rewrites)


def _returned_at_once(
    function: Function, start: ast.stmt, behind: Sequence[ast.stmt]
) -> ast.Return | None:
    """Return the statement that returns what has been started, and is all that needs its name."""
    result = next(iter(behind), None)
    name = start.targets[0] if isinstance(start, ast.Assign) else None
    if not isinstance(result, ast.Return) or not function.module.stands_alone(result):
        return None
    if not isinstance(name, ast.Name) or unparsed(result)[len("return ") :] != name.id:
        return None
    nodes = list(ast.walk(function.node))
    returned = {id(node.value) for node in nodes if isinstance(node, ast.Return)}
    shared = {n for node in nodes for n in getattr(node, "names", ()) if isinstance(n, str)}
    uses = (n for n in nodes if isinstance(n, ast.Name) and n.id == name.id)
    is_known = all(isinstance(n.ctx, ast.Store) or id(n) in returned for n in uses)
    return result if is_known and name.id not in shared else None


def returned_instead(functions: Sequence[Function]) -> Iterator[tuple[int, str]]:
    """Yield the lines of functions that are said to return a process, and what is right then.

    A function is there as often as a start in it is replaced: it may return what else it starts.
    """
    for function in dict.fromkeys(functions):
        returns = getattr(function.node, "returns", None)
        said = function.module.source(returns) if returns is not None else None
        resolve = function.module.resolve
        processes = [call for call in function.calls if resolve(call.func) == "subprocess.Popen"]
        if said and _PROCESS.search(said) and len(processes) == functions.count(function):
            yield getattr(function.node, "lineno", 0), _PROCESS.sub(_BROKER_CLASS, said)


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
    for keyword in call.keywords:
        if keyword.arg in _OF_A_PROCESS_ONLY and not _NOWHERE.fullmatch(unparsed(keyword.value)):
            raise _NotCertainError(f"its {keyword.arg} goes to {shortened(keyword.value)}")


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


def _port_in(module: Module, words: Sequence[ast.expr]) -> str | None:
    """Return the port that mosquitto is to listen on; None if its command line says more."""
    rest = list(words)
    if not rest or not _is_executable(rest.pop(0)):
        return None
    port: str | None = _DEFAULT_PORT
    while rest:
        option = getattr(rest.pop(0), "value", None)
        if option in ("-p", "--port") and rest:
            port = _number(module, rest.pop(0))
        elif option not in _HARMLESS_OPTIONS:
            return None
    return port


def _is_executable(word: ast.expr) -> bool:
    """Say whether it is mosquitto's path, or a name, which has been looked into by now."""
    value = getattr(word, "value", None) if isinstance(word, ast.Constant) else None
    return isinstance(word, ast.Name) or bool(re.fullmatch(r"(.*/)?mosquitto", str(value)))


def _number(module: Module, word: ast.expr) -> str | None:
    """Return the expression of a number that is given as a text: `1883`, `port`."""
    if isinstance(word, ast.Constant):
        return str(word.value) if str(word.value).isdigit() else None
    if isinstance(word, ast.Call) and unparsed(word.func) == "str" and len(word.args) == 1:
        return module.source(word.args[0]) or unparsed(word.args[0])
    if isinstance(word, ast.JoinedStr) and len(word.values) == 1:
        value = word.values[0]
        quote = (module.source(word) or "'").lstrip("fF")[0]  # what is inside has other quotes
        return (
            unparsed(value.value).replace("'", quote)
            if isinstance(value, ast.FormattedValue)
            else None
        )
    return None


def _is_sleep(function: Function, statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    call = call.value if isinstance(call, ast.Await) else call
    return isinstance(call, ast.Call) and function.module.resolve(call.func) in SLEEPS
