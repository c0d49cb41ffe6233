"""Finds the publishing that a timer puts off until a subscription may be in force."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .finding import WAIT, Finding
from .parsing import Function, called_name, calls_in, keyword_value, shortened
from .pauses import PUBLISHERS
from .sleeps import SLEEPS
from .suite import Suite

_RECEIVERS = {"paho.mqtt.subscribe.simple", "paho.mqtt.subscribe.callback"}
_TIMERS = {"Timer": "function", "call_later": "callback"}
_BEGINNERS = {"Thread": "target", "create_task": "coro", "submit": "fn"}
_INSTEAD = (
    "publish at once, and mqtt_monitor.wait_for(topic): it has subscribed before the test begins; "
    "without fixtures, a client whose on_subscribe sets the threading.Event that the publisher "
    "waits for"
)


def check_delays(suite: Suite) -> Iterator[Finding]:
    """Find what is published by a timer, for a `subscribe.simple` that is called meanwhile."""
    found: dict[ast.Call, tuple[Function, ast.Call, list[str]]] = {}
    for module in suite.modules:
        for function in module.functions:
            receiver = next((c for c in function.calls if _receives(suite, function, c)), None)
            if receiver is None:
                continue
            for home, call in _delayed(suite, function):
                users = found.setdefault(call, (home, receiver, []))[-1]
                users += [function.title] if function.is_test else []
    for call, (home, receiver, tests) in found.items():
        what = (
            f"{home.title} publishes after a delay, {shortened(call)}, in the hope that "
            f"{called_name(receiver)}() has subscribed by then"
        )
        yield Finding(home.module.path, call.lineno, WAIT, what, _INSTEAD, False, tuple(tests))


def _delayed(suite: Suite, function: Function) -> Iterator[tuple[Function, ast.Call]]:
    """Yield the calls by which *function* publishes later, itself or by a helper."""
    helpers = (helper for call in function.calls for helper in suite.run_by(function, call))
    for home in dict.fromkeys((function, *helpers)):
        yield from ((home, call) for call in home.calls if _publishes_later(suite, home, call))


def _receives(suite: Suite, function: Function, call: ast.Call) -> bool:
    """Say whether *call* subscribes and blocks until something comes, itself or by a helper."""
    if function.module.resolve(call.func) in _RECEIVERS:
        return True
    helpers = suite.run_by(function, call)
    return any(h.module.resolve(c.func) in _RECEIVERS for h in helpers for c in h.calls)


def _publishes_later(suite: Suite, function: Function, call: ast.Call) -> bool:
    name = called_name(call)
    if name in _TIMERS:
        work = keyword_value(call, _TIMERS[name]) or (call.args[1] if len(call.args) > 1 else None)
        return work is not None and any(map(_publishes, _code_of(suite, function, work)))
    if name in _BEGINNERS:
        work = keyword_value(call, _BEGINNERS[name]) or next(iter(call.args), None)
        code = [] if work is None else _code_of(suite, function, work)
        return any(_publishes(node) and _sleeps(function, node) for node in code)
    return False


def _code_of(suite: Suite, function: Function, work: ast.expr) -> list[ast.AST]:
    """Return what is run where *work* is handed over: a lambda, a function, a bound method."""
    if isinstance(work, ast.Call):
        work = work.func
    found: list[ast.AST] = [work.body] if isinstance(work, ast.Lambda) else [work]
    if isinstance(work, ast.Name):
        nested = [n for n in function.own_nodes if getattr(n, "name", "") == work.id]
        defined = suite.defined(function.module, function.module.resolve(work))
        found += nested
        found += [defined[1].node] if defined and isinstance(defined[1], Function) else []
    return found


def _publishes(node: ast.AST) -> bool:
    """Say whether code publishes, or is the method that does."""
    if isinstance(node, ast.Attribute):
        return node.attr in PUBLISHERS
    return any(called_name(c) in PUBLISHERS for part in _parts(node) for c in calls_in(part))


def _sleeps(function: Function, node: ast.AST) -> bool:
    calls = (call for part in _parts(node) for call in calls_in(part))
    return any(function.module.resolve(call.func) in SLEEPS for call in calls)


def _parts(node: ast.AST) -> list[ast.AST]:
    return list(getattr(node, "body", [])) or [node]
