"""Finds the waits for brokers, clients and services."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator, Sequence

from .advice import instead_of
from .certainty import Rewriter
from .finding import WAIT, Finding
from .makers import sleeps_behind_brokers
from .parsing import LOOPS, Function, Module
from .pauses import lets_time_pass, program_before
from .sleeps import Wait, causes, name_looked_at, waits_in
from .suite import Suite


def check_waits(suite: Suite) -> Iterator[Finding]:
    """Find what sleeps or polls for a broker, a client or a service: each place once."""
    found: dict[ast.Call, tuple[Wait, list[Wait]]] = {}
    told = set(sleeps_behind_brokers(suite))
    for wait in (wait for module in suite.modules for wait in find_waits(suite, module)):
        for cause in causes(suite, wait):
            _, users = found.setdefault(cause.sleep, (cause, []))
            users.append(wait)
    for cause, users in found.values():
        if cause.statement not in told:
            yield _finding(suite, cause, users)


def _finding(suite: Suite, cause: Wait, users: Sequence[Wait]) -> Finding:
    callers = [wait for wait in users if wait.helper]
    wait = next((wait for wait in callers if wait.looked_at), users[0])
    rewrite = wait.rewrite
    return Finding(
        cause.function.module.path,
        cause.sleep.lineno,
        WAIT,
        _describe(cause, wait, len({c.function for c in callers} - {wait.function})),
        "; ".join(rewrite.statements) if rewrite else instead_of(suite, wait),
        rewrite is not None,
        tuple(dict.fromkeys(user.function.title for user in users if user.looked_at)),
    )


def _describe(cause: Wait, wait: Wait, others: int) -> str:
    """Say who waits by what: *wait* is the first that comes to *cause*, maybe by a helper."""
    how = "polls for" if isinstance(cause.statement, LOOPS) else "sleeps for"
    head = f"{_title(cause.function)} {how}"
    more = f", and for {others} more that call it" if others else ""
    if wait.looked_at:
        who = "it" if not wait.helper else wait.function.title
        return f"{head} background work before {who} looks at {wait.looked_at}{more}"
    if wait.helper:
        return f"{head} a broker, client or service, for {_title(wait.function)}{more}"
    if cause.function.fixture_scope:
        return f"{head} a broker, client or service"
    return f"{head} a broker, client or service, for all that call it"


def _title(function: Function) -> str:
    if function.fixture_scope:
        return f"the fixture {function.fixture_name}"
    return function.title


def find_waits(suite: Suite, module: Module) -> Iterator[Wait]:
    """Yield the waits of a module, each with its rewrite where that is certain."""
    for function in module.functions:
        ran: list[str] = []  # what earlier rewrites of the test run explicitly
        waits = () if function in suite.beside else waits_in(suite, function, function.node.body)
        for wait in waits:
            if program_before(suite, wait) == "another":
                continue
            if not function.is_test:
                if suite.is_in_use(function):
                    yield wait
                continue
            looked_at = name_looked_at(suite, wait)
            if looked_at and not lets_time_pass(suite, wait):
                rewrite = Rewriter(suite, wait, ran).rewrite()
                ran += rewrite.statements if rewrite else ()
                yield dataclasses.replace(wait, looked_at=looked_at, rewrite=rewrite)
