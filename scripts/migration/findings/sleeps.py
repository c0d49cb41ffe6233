"""Where a function sleeps or polls, and what a test looks at afterwards."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .finding import Rewrite
from .parsing import (
    LOOPS,
    RUNS_LATER,
    Function,
    begins_beside,
    bindings,
    blocks_in,
    called_name,
    keyword_value,
    unparsed,
)
from .pauses import EXPLICIT, is_no_wait
from .suite import Suite

SLEEPS = {
    f"{library}.sleep" for library in ("time", "asyncio", "trio", "anyio", "gevent", "eventlet")
}
_EVENTS = {"threading.Event", "multiprocessing.Event"}
_WITHOUT_SETTING = {"wait", "is_set", "clear"}
_LOOKS = re.compile(r"_?(assert|check|verify|expect|wait_for)\w*")
_WAITS = re.compile(r"(.*\.)?(sleep|test_run_\w+_once)|mqtt_monitor\.wait_for")


@dataclass(frozen=True)
class Wait:
    """A statement that sleeps or polls, and where it stands."""

    function: Function
    block: list[ast.stmt]
    index: int
    sleep: ast.Call
    """The call of `time.sleep`, of an event's `wait`, or of the helper that calls one of them."""
    helper: str = ""
    looked_at: str = ""
    """The live name that the test looks at afterwards, where it is a test that waits."""
    rewrite: Rewrite | None = None

    @property
    def statement(self) -> ast.stmt:
        """The statement that waits."""
        return self.block[self.index]


def waits_in(suite: Suite, function: Function, block: list[ast.stmt]) -> Iterator[Wait]:
    """Yield the innermost statements that wait: a loop if it polls, else the sleep in it."""
    for index, statement in enumerate(block):
        if is_no_wait(function, statement):
            continue
        sleeps = [n for n in _awaited_nodes(statement) if _is_sleep(suite, function, n)]
        inner_blocks = blocks_in(statement)
        if sleeps and (not inner_blocks or _polls(statement)):
            sleep = next(n for n in sleeps if isinstance(n, ast.Call))
            is_helper = not _pauses(suite, function, sleep)
            yield Wait(function, block, index, sleep, f"{unparsed(sleep.func)}()" * is_helper)
        elif sleeps:
            for inner in inner_blocks:
                yield from waits_in(suite, function, inner)


def _awaited_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the code that is over when *node* is: not what runs beside the test from there on."""
    yield node
    if isinstance(node, RUNS_LATER) or begins_beside(node):
        return
    for child in ast.iter_child_nodes(node):
        yield from _awaited_nodes(child)


def causes(suite: Suite, wait: Wait) -> list[Wait]:
    """Return where the helpers sleep by which a function waits; the wait itself if by none."""
    if not wait.helper:
        return [wait]
    helpers = suite.run_by(wait.function, wait.sleep)
    return [cause for helper in helpers for cause in _sleeps_of(suite, helper)]


def _polls(statement: ast.stmt) -> bool:
    """Say whether a loop goes on until something has happened."""
    if isinstance(statement, ast.While) and not isinstance(statement.test, ast.Constant):
        return True
    return isinstance(statement, LOOPS) and any(map(_leaves, statement.body))


def _leaves(statement: ast.stmt) -> bool:
    """Say whether a statement of a loop's body may leave that loop."""
    if isinstance(statement, (ast.Break, ast.Return)):
        return True
    if isinstance(statement, LOOPS):
        return False
    return any(_leaves(inner) for block in blocks_in(statement) for inner in block)


def _is_sleep(suite: Suite, function: Function, node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if _pauses(suite, function, node):
        # A sleep of no time lets others run, and waits for nothing.
        seconds = seconds_of(node)
        return not isinstance(seconds, ast.Constant) or bool(seconds.value)
    return any(_sleeps_of(suite, helper) for helper in suite.run_by(function, node))


def seconds_of(call: ast.Call) -> ast.expr | None:
    """Return what a sleep is given as its length."""
    return call.args[0] if call.args else keyword_value(call, "timeout")


def _pauses(suite: Suite, function: Function, call: ast.Call) -> bool:
    """Say whether *call* does nothing but let time go by."""
    if function.module.resolve(call.func) in SLEEPS:
        return True
    target = call.func
    if not isinstance(target, ast.Attribute) or target.attr != "wait" or not seconds_of(call):
        return False
    return _makes_event(function, target.value) or _nobody_sets(suite, function, target.value)


def _makes_event(function: Function, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and function.module.resolve(node.func) in _EVENTS


def _nobody_sets(suite: Suite, function: Function, event: ast.expr) -> bool:
    """Say whether *event* is one that is waited for, and that nothing else is done with."""
    module = function.module
    homes: list[ast.AST] = [module.tree]
    if isinstance(event, ast.Name):
        homes.insert(0, function.node)
    elif not isinstance(event, ast.Attribute) or unparsed(event.value) not in ("self", "cls"):
        return False
    name = _last_name(event)
    for home in homes:
        made = [v for node in ast.walk(home) for t, v in bindings(node) if _last_name(t) == name]
        if made:
            is_local = home is not module.tree
            is_known_here_only = is_local or name not in suite.names_used_elsewhere(module)
            return (
                is_known_here_only
                and all(_makes_event(function, value) for value in made)
                and not any(_may_set(node, name) for node in _uses_in(home, name))
            )
    return False


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _uses_in(home: ast.AST, name: str) -> Iterator[ast.AST]:
    """Yield what is done with a name: the attributes of it, or where else it stands."""
    for node in ast.walk(home):
        for child in ast.iter_child_nodes(node):
            is_read = isinstance(getattr(child, "ctx", None), ast.Load)
            if is_read and _last_name(child) == name:
                yield node


def _may_set(use: ast.AST, name: str) -> bool:
    is_harmless = isinstance(use, ast.Attribute) and use.attr in _WITHOUT_SETTING
    return not is_harmless or _last_name(use) == name


def _sleeps_of(suite: Suite, helper: Function) -> list[Wait]:
    """Return the sleeps of a helper, and of those that it calls."""
    if helper not in suite.sleeps:
        suite.sleeps[helper] = []  # while we look, for helpers that call each other
        if not helper.is_test and not any(map(_is_explicit, helper.own_nodes)):
            waits = list(waits_in(suite, helper, helper.node.body))
            suite.sleeps[helper] = [cause for wait in waits for cause in causes(suite, wait)]
    return suite.sleeps[helper]


def _is_explicit(node: ast.AST) -> bool:
    """Say whether *node* names one of the methods that run a task when the test says so."""
    return isinstance(node, (ast.Attribute, ast.Constant)) and bool(EXPLICIT.search(unparsed(node)))


def name_looked_at(suite: Suite, wait: Wait) -> str:
    """Return the live name that the test looks at while it waits or later; "" if there is none."""
    function, statement = wait.function, wait.statement
    # A helper that polls is given what it looks at: `assert wait_until(lambda: service.ready)`.
    looks_itself = isinstance(statement, LOOPS) or wait.helper
    looks: list[ast.AST] = [statement] if looks_itself else []
    later = list(nodes_after(function, statement))
    looks += [node for node in later if isinstance(node, ast.Assert)]
    looks += [n for n in later if isinstance(n, ast.Call) and _LOOKS.fullmatch(called_name(n))]
    live = [
        unparsed(n) for look in looks for n in ast.walk(look) if suite.is_live_node(function, n)
    ]
    # Its own name says more than that of each of its parts in `all(part.ready for part in it)`.
    parts = {
        unparsed(inner.target)
        for look in looks
        for inner in ast.walk(look)
        if isinstance(inner, ast.comprehension)
    }
    return next((name for name in live if name not in parts), "".join(live[:1]))


def looks_after(function: Function, statement: ast.stmt) -> list[ast.AST]:
    """Return what *function* asserts after *statement*, until it waits once more.

    What a fix puts in the place of a wait ends this as the wait did.
    """
    later = list(nodes_after(function, statement))
    calls = [node for node in later if isinstance(node, ast.Call)]
    waits = (call.lineno for call in calls if _WAITS.fullmatch(unparsed(call.func)))
    end = min(waits, default=sys.maxsize)
    return [
        node
        for node in later
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and _LOOKS.fullmatch(called_name(node)))
        if node.lineno < end
    ]


def nodes_after(function: Function, statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield what *function* does after *statement*."""
    end = (statement.end_lineno or 0, statement.end_col_offset or 0)
    for node in function.own_nodes:
        if isinstance(node, (ast.stmt, ast.expr)) and (node.lineno, node.col_offset) > end:
            yield node
    if function.outer is not None and isinstance(function.node, ast.AsyncFunctionDef):
        yield from nodes_after(function.outer, function.node)
