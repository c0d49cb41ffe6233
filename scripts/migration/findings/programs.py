"""Which program a call starts, and whether that is an MQTT broker."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

from .parsing import Function, keyword_value, unparsed

STARTERS = re.compile(
    r"subprocess\.(Popen|run|call|check_call|check_output|getoutput)|os\.(system|popen|spawn\w+)"
    r"|asyncio\.(subprocess\.)?create_subprocess_(exec|shell)|.*\bcontainers\.run|pexpect\.spawn"
)
_CONTAINER_CLASS = re.compile(r"(.*\.)?(Docker|Generic)Container")
BROKER_NAME = re.compile(
    r"mosquitto(?!_(pub|sub|passwd|rr|ctrl))|\b(emqx|nanomq|vernemq|hivemq|hbmqtt|amqtt|rumqttd"
    r"|flashmq|moquette|mochi|comqtt|bifromq|aedes|mosca)\b",
    re.I,
)
"""Brokers, where they are named as a program, a package or an image."""

_WRAPPERS = {"sudo", "env", "nohup", "exec", "timeout", "stdbuf", "setsid", "nice", "npx", "time"}
_SHELLS = {"sh", "bash", "dash", "zsh"}
_CONTAINERS = {"docker", "podman", "docker-compose", "podman-compose", "nerdctl"}
_SERVICES = {"systemctl", "service", "brew", "snap", "rc-service", "invoke-rc.d"}
_STARTS = {"run", "up", "start", "restart"}
_ASKS_ONLY = {"-h", "--help", "--version", "version", "stop", "ping", "status", "ctl"}
_SEPARATORS = {"&&", "||", ";", "|", "&"}


class _Word(NamedTuple):
    """A word of a command line, or the expression that it is computed by."""

    text: str
    is_literal: bool


def started_broker(function: Function, call: ast.Call) -> str:
    """Return the name of the broker that *call* starts as a program or container; "" for none."""
    name = function.module.resolve(call.func)
    if name.endswith("containers.run") or _CONTAINER_CLASS.fullmatch(name):
        found = BROKER_NAME.search(" ".join(map(unparsed, call.args[:1])))
        return found.group().lower() if found else ""
    commands = _commands(started_words(function, call))
    return next(filter(None, map(_broker_of, commands)), "")


def started_words(function: Function, call: ast.Call) -> list[_Word]:
    """Return the command line of the program that *call* starts; none if it starts no program."""
    name = function.module.resolve(call.func)
    if not STARTERS.fullmatch(name):
        return []
    if name.endswith("create_subprocess_exec") or name.startswith("os.spawn"):
        given = [argument for argument in call.args if not unparsed(argument).startswith("os.P_")]
        return [word for argument in given for word in _words(function, argument)]
    command = call.args[0] if call.args else keyword_value(call, "args")
    if isinstance(command, ast.Name):
        command = _assigned(function, command) or command
    text = _text(command)
    if text is not None:
        return [_Word(word, True) for word in _split(text)]
    return _words(function, command) if command is not None else []


def is_of_python(words: Sequence[_Word]) -> str:
    """Return the module or script that a command line lets Python run; "" if it does not."""
    program, *rest = [word.text for word in words] or [""]
    if program != "sys.executable" and not re.fullmatch(r"python[\d.]*", PurePath(program).name):
        return ""
    if "-m" in rest[:-1]:
        return rest[rest.index("-m") + 1]
    return next((word for word in rest if not word.startswith("-")), "")


def _words(function: Function, node: ast.expr, depth: int = 4) -> list[_Word]:
    """Return the words of an expression of a command line, as far as they are plain."""
    if depth == 0:
        return [_Word(unparsed(node), False)]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [word for part in node.elts for word in _words(function, part, depth)]
    if isinstance(node, ast.Starred):
        return _words(function, node.value, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_words(function, node.left, depth), *_words(function, node.right, depth)]
    text = _text(node)
    if text is not None:
        return [_Word(text, True)]
    if isinstance(node, ast.Call) and unparsed(node.func) in ("str", "os.fspath", "shlex.split"):
        return [word for argument in node.args for word in _words(function, argument, depth - 1)]
    if isinstance(node, (ast.Name, ast.Attribute)) and unparsed(node) != "sys.executable":
        value = _assigned(function, node)
        if value is not None:
            return _words(function, value, depth - 1)
    return [_Word(unparsed(node), unparsed(node) == "sys.executable")]


def _text(node: ast.expr | None) -> str | None:
    """Return the string that is written out, with a pair of braces for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(getattr(part, "value", "")) if _is_text(part) else "{}" for part in node.values
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _text(node.func.value) if node.func.attr in ("split", "format") else None
    return None


def _is_text(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant)


def _assigned(function: Function, node: ast.expr) -> ast.expr | None:
    """Return what is assigned to a name in the function, its class, or its module."""
    name = unparsed(node)
    owner = function.owner.body if function.owner else []
    methods = (inner for part in owner for inner in ast.walk(part))
    for inner in (*function.own_nodes, *methods, *function.module.tree.body):
        if isinstance(inner, ast.Assign) and name in map(unparsed, inner.targets):
            return inner.value
    return None


def _split(text: str) -> list[str]:
    try:
        return shlex.split(re.sub(r"([;|&]+)", r" \1 ", text))
    except ValueError:
        return text.split()


def _commands(words: Sequence[_Word]) -> Iterator[list[_Word]]:
    """Yield the commands of a command line, without what merely wraps them."""
    command: list[_Word] = []
    for word in [*words, _Word(";", True)]:
        if word.text not in _SEPARATORS:
            command.append(word)
            continue
        bare = _unwrapped(command)
        command = []
        if bare and PurePath(bare[0].text).name in _SHELLS and len(bare) > 2:
            yield from _commands([_Word(text, True) for text in _split(bare[2].text)])
        elif bare:
            yield bare


def _unwrapped(words: list[_Word]) -> list[_Word]:
    while words and PurePath(words[0].text).name in _WRAPPERS:
        words = words[1:]
        while words and re.match(r"-|\w+=|\d+[smh]?$", words[0].text):
            words = words[1:]
    return words


def _broker_of(words: Sequence[_Word]) -> str:
    """Return the name of the broker that a command starts; "" if it starts none."""
    texts = [word.text for word in words]
    program = PurePath(texts[0]).name if words[0].is_literal else texts[0]
    of_python = is_of_python(words)
    named: Callable[[str], re.Match[str] | None] = BROKER_NAME.search
    if of_python:
        found = BROKER_NAME.match(PurePath(of_python).name)
    elif program in _CONTAINERS | _SERVICES:
        found = next(filter(None, map(named, texts[1:])), None)
        found = found if _STARTS & set(texts) else None
    else:
        found = named(program) if not words[0].is_literal else BROKER_NAME.match(program)
        found = None if _ASKS_ONLY & set(texts[1:]) else found
    return found.group().lower() if found else ""
