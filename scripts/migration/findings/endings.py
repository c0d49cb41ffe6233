"""Finds the clients whose network loop is stopped before they disconnect."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .finding import Finding
from .parsing import FUNCTIONS, FunctionNode, Module, calls_in, unparsed
from .suite import Suite


def check_endings(_suite: Suite, module: Module) -> Iterator[Finding]:
    """Find `loop_stop()` before `disconnect()`, which waits for up to a second."""
    for function in ast.walk(module.tree):
        if isinstance(function, FUNCTIONS):
            yield from _endings_in(module, function)


def _endings_in(module: Module, function: FunctionNode) -> Iterator[Finding]:
    calls = [c for s in function.body for c in calls_in(s) if isinstance(c.func, ast.Attribute)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    order = [
        (unparsed(c.func.value), c.func.attr, c) for c in calls if isinstance(c.func, ast.Attribute)
    ]
    for place, (client, method, call) in enumerate(order):
        before, after = order[:place], order[place + 1 :]
        if method != "loop_stop" or any(o[:2] == (client, "disconnect") for o in before):
            continue
        if any(o[:2] == (client, "disconnect") for o in after):
            yield Finding(
                module.path,
                call.lineno,
                "loop-stop-first",
                f"{client}.loop_stop() before {client}.disconnect(): up to 1 s a client",
                f"{client}.disconnect() and then {client}.loop_stop(); everywhere at once: "
                "prompt_mqtt_clients",
                False,
            )
