"""Where a function sleeps or polls, and what a test looks at afterwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .finding import Rewrite
from .parsing import LOOPS, Function, blocks_in, called_name, unparsed, walk_own
from .suite import Suite

SLEEPS = {f"{library}.sleep" for library in ("time", "asyncio", "trio", "anyio", "gevent")}
_LOOKS = re.compile(r"_?(assert|check|verify|expect|wait_for)\w*")
EXPLICIT = re.compile(r"\btest_run_\w+_once\b")


@dataclass(frozen=True)
class Wait:
    """A statement that sleeps or polls, and where it stands."""

    function: Function
    block: list[ast.stmt]
    index: int
    sleep: ast.Call
    """The call of `time.sleep`, or of the helper that calls it."""
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
        sleeps = [n for n in walk_own(statement) if _is_sleep(suite, function, n)]
        inner_blocks = blocks_in(statement)
        if sleeps and (not inner_blocks or _polls(statement)):
            sleep = next(n for n in sleeps if isinstance(n, ast.Call))
            is_helper = function.module.resolve(sleep.func) not in SLEEPS
            yield Wait(function, block, index, sleep, f"{unparsed(sleep.func)}()" * is_helper)
        elif sleeps:
            for inner in inner_blocks:
                yield from waits_in(suite, function, inner)


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
    if function.module.resolve(node.func) in SLEEPS:
        # A sleep of no time lets others run, and waits for nothing.
        return not (node.args and isinstance(node.args[0], ast.Constant) and not node.args[0].value)
    helpers = suite.called(function, node)
    helpers = [helper for helper in helpers if _sleeps_somewhere(suite, helper)]
    # What a helper does with live things is found there; a test that calls it waits nevertheless.
    return any(function.is_test or not suite.is_in_use(helper) for helper in helpers)


def _sleeps_somewhere(suite: Suite, helper: Function) -> bool:
    if helper not in suite.sleepers:
        suite.sleepers[helper] = False  # while we look, for helpers that call each other
        suite.sleepers[helper] = _search_sleep(suite, helper)
    return suite.sleepers[helper]


def _search_sleep(suite: Suite, helper: Function) -> bool:
    if helper.is_test or any(map(_is_explicit, helper.own_nodes)):
        return False
    if any(helper.module.resolve(call.func) in SLEEPS for call in helper.calls):
        return True
    called = (inner for call in helper.calls for inner in suite.called(helper, call))
    return any(_sleeps_somewhere(suite, inner) for inner in called)


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
    live = (n for look in looks for n in ast.walk(look) if suite.is_live_node(function, n))
    return next((unparsed(node) for node in live), "")


def nodes_after(function: Function, statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield what *function* does after *statement*."""
    end = (statement.end_lineno or 0, statement.end_col_offset or 0)
    for node in function.own_nodes:
        if isinstance(node, (ast.stmt, ast.expr)) and (node.lineno, node.col_offset) > end:
            yield node
