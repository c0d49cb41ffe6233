"""Tells the sleeps by which a suite waits for something from those by which it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .parsing import LOOPS, Function, called_name, calls_in, unparsed, walk_own
from .programs import is_of_python, started_broker, started_words
from .suite import Suite

if TYPE_CHECKING:
    from .sleeps import Wait

EXPLICIT = re.compile(r"\btest_run_\w+_once\b")
PUBLISHERS = {"publish", "single", "multiple"}
_FILE = {"exists", "is_file", "isfile", "is_dir", "isdir", "stat", "getsize", "glob", "listdir"}
_NO_PLAIN_FILE = re.compile(r"mosquitto|mqtt|broker|pid|sock|\blog\b", re.I)
_SPAN = re.compile(r"(.*_)?(uptime|age|elapsed|since|duration|stale|expired?|overdue|idle)(_.*)?")
_MOMENT = re.compile(r"(.*_)?((last|first)_seen|timestamp|time)|.*_at")
_TAKES = re.compile(r"allow|take|acquire|consume|hit|admit|permit|try_\w+")
_SENDS = re.compile(
    r"_?(publish|send|emit|subscribe|unsubscribe|connect|disconnect|reconnect|start|put|submit"
    r"|request|notify|trigger|single|multiple)(_\w+)?"
)


def is_no_wait(function: Function, statement: ast.stmt) -> bool:
    """Say whether a loop sleeps for a file, or keeps the pace of what it sends."""
    if not isinstance(statement, LOOPS):
        return False
    return _polls_for_a_file(statement) or (not function.is_test and _keeps_pace(statement))


def _polls_for_a_file(loop: ast.While | ast.For | ast.AsyncFor) -> bool:
    conditions = list(_conditions(loop))
    calls = [call for condition in conditions for call in calls_in(condition)]
    asks = any(called_name(call) in _FILE for call in calls)
    return asks and not any(_NO_PLAIN_FILE.search(unparsed(node)) for node in conditions)


def _conditions(loop: ast.While | ast.For | ast.AsyncFor) -> Iterator[ast.expr]:
    """Yield what a loop goes on or ends by."""
    if isinstance(loop, ast.While):
        yield loop.test
    for node in walk_own(loop):
        if isinstance(node, ast.If) and any(
            isinstance(s, (ast.Break, ast.Return)) for s in node.body
        ):
            yield node.test


def _keeps_pace(loop: ast.While | ast.For | ast.AsyncFor) -> bool:
    """Say so of a loop that sends something at every turn, as a device would."""
    return any(called_name(call) in PUBLISHERS for call in calls_in(loop))


def lets_time_pass(suite: Suite, wait: Wait) -> bool:
    """Say whether a sleep of a test is there for the clock, not for what runs beside the test.

    It is if the test itself acts behind it, as before, or looks at how long something has taken.
    """
    between, looks = _until_it_looks(wait)
    if any(EXPLICIT.search(unparsed(node)) for node in between):
        return True
    if _acts(suite, wait.function, wait.block[: wait.index], ()) & _acts(
        suite, wait.function, between, looks
    ):
        return True
    about_it = [look for look in looks if suite.is_live(wait.function, look)]
    return bool(about_it) and all(map(_is_about_a_span, about_it))


def looks_at_a_moment(looks: Iterable[ast.AST]) -> bool:
    """Say whether a test compares points in time, between which the clock has to move on."""
    compared = [n for look in looks for n in ast.walk(look) if isinstance(n, ast.Compare)]
    return any(_MOMENT.fullmatch(name) for node in compared for name in _names(node))


def _until_it_looks(wait: Wait) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Return what a test does behind a wait, and the assertions that follow that."""
    rest = wait.block[wait.index + 1 :]
    first = next((n for n, s in enumerate(rest) if isinstance(s, ast.Assert)), len(rest))
    after = rest[first:]
    end = next((n for n, s in enumerate(after) if not isinstance(s, ast.Assert)), len(after))
    return rest[:first], after[:end]


def _acts(
    suite: Suite, function: Function, does: Iterable[ast.stmt], looks: Iterable[ast.stmt]
) -> set[str]:
    """Return the methods of live things that a test calls for what they do, sending apart."""
    acts = set()
    for statement in (*does, *looks):
        is_look = isinstance(statement, ast.Assert)
        for call in calls_in(statement):
            name = called_name(call)
            is_act = _TAKES.fullmatch(name) if is_look else not _SENDS.fullmatch(name)
            target = call.func.value if isinstance(call.func, ast.Attribute) else None
            if is_act and target is not None and suite.is_live(function, target):
                acts.add(unparsed(call.func))
    return acts


def _is_about_a_span(look: ast.AST) -> bool:
    return any(_SPAN.fullmatch(name) for name in _names(look))


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Attribute, ast.Name)):
            yield inner.attr if isinstance(inner, ast.Attribute) else inner.id


def program_before(suite: Suite, wait: Wait) -> str:
    """Say whose program was started last before a wait: "theirs", "another", or "" for none."""
    calls = [c for statement in wait.block[: wait.index] for c in calls_in(statement)]
    started = [c for c in calls if started_words(wait.function, c)]
    if not started or started_broker(wait.function, started[-1]):
        return ""
    words = started_words(wait.function, started[-1])
    of_python = is_of_python(words)
    is_theirs = suite.is_live(wait.function, started[-1]) or suite.has_program(of_python)
    return "theirs" if is_theirs or "compose" in {w.text for w in words} else "another"
