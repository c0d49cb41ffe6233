"""Finds where the tests start brokers and make clients."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .finding import Finding
from .parsing import SET_UP, SET_UP_ONCE, Function, Module, shortened
from .starts import Start, find_starts
from .suite import Suite

_USE_OUR_BROKER = (
    "the fixture test_mqtt_broker: one broker for the session; isolated_mqtt_broker for a test "
    "that stops or fills it"
)
_USE_OUR_BROKER_OBJECT = (
    "what it calls starts a broker that answers at once, if that is replaced; or the session's "
    "broker for all (apply --option 3)"
)
_USE_ONE_CALL = (
    "{}, of mqtt_test_broker, for this and the wait behind it: it returns when the broker answers, "
    "and has terminate(), kill(), wait() and poll() like the process"
)
_USE_OUR_CLIENTS = "the fixtures mqtt_client or mqtt_client_factory: clients on loan"
_USE_PROMPT_CLIENTS = (
    "mqtt_client_factory in tests with fixtures; else an autouse fixture that names "
    "prompt_mqtt_clients and redirected_mqtt_clients"
)


def check_makers(suite: Suite, module: Module) -> Iterator[Finding]:
    """Find the functions that start a broker or make a client."""
    starts = list(find_starts(suite, module))
    for start in starts:
        yield _found_start(start)
    for function in module.functions:
        if function not in (start.function for start in starts):
            yield from _brokers_of(suite, function)
        yield from _clients_of(suite, function)


def _found_start(start: Start) -> Finding:
    function, call = start.function, start.call
    if function.name in SET_UP:
        kind, when = "per-test-broker", "for each test"
    else:
        kind, when = "helper-starts-broker", "outside of any fixture"
    what = f"{function.title} starts a broker, {when}: {shortened(call)}"
    instead = _USE_ONE_CALL.format(start.replacement)
    return Finding(
        function.module.path, call.lineno, kind, what, instead, certain=bool(start.rewrites)
    )


def _brokers_of(suite: Suite, function: Function) -> Iterator[Finding]:
    call = suite.starts_broker(function)
    if call is None:
        return
    path, scope = function.module.path, function.fixture_scope
    if scope is None and _is_ours(suite, function):
        return  # it is there on purpose
    if scope == "function" or function.name in SET_UP:
        what = f"{_role(function)} starts a broker for each test: {shortened(call)}"
        yield Finding(path, call.lineno, "per-test-broker", what, _USE_OUR_BROKER, False)
    elif function.is_test:
        what = f"{function.title} starts a broker of its own: {shortened(call)}"
        yield Finding(path, call.lineno, "per-test-broker", what, _USE_OUR_BROKER, False)
    elif scope is None and (
        function.name in SET_UP_ONCE or suite.is_direct(function, call, "broker")
    ):
        what = f"{function.title} starts a broker, outside of any fixture: {shortened(call)}"
        yield Finding(
            path, call.lineno, "helper-starts-broker", what, _USE_OUR_BROKER_OBJECT, False
        )


def _is_ours(suite: Suite, function: Function, depth: int = 3) -> bool:
    """Say whether the broker that *function* starts, itself or by a helper, is one of ours."""
    call = suite.starts_broker(function)
    if call is None or depth == 0:
        return False
    if suite.is_direct(function, call, "broker"):
        return function.module.resolve(call.func).endswith(("TestMQTTBroker", "MQTTTestBroker"))
    helpers = [helper for helper in suite.called(function, call) if suite.starts_broker(helper)]
    return all(_is_ours(suite, helper, depth - 1) for helper in helpers)


def _clients_of(suite: Suite, function: Function) -> Iterator[Finding]:
    call = suite.makes_client(function)
    if call is None or function.is_test or _is_thrown_away(function, call):
        return
    path = function.module.path
    if function.fixture_scope:
        what = f"{_role(function)} makes a real client: {shortened(call)}"
        yield Finding(path, call.lineno, "client-in-fixture", what, _USE_OUR_CLIENTS, False)
    elif function.name in SET_UP | SET_UP_ONCE or suite.is_direct(function, call, "client"):
        what = f"{function.title} makes a client, outside of any fixture: {shortened(call)}"
        yield Finding(path, call.lineno, "helper-makes-client", what, _USE_PROMPT_CLIENTS, False)


def _is_thrown_away(function: Function, call: ast.Call) -> bool:
    """Say so of the call of a helper that merely uses a client, to see if a broker is there."""
    return any(isinstance(n, ast.Expr) and n.value is call for n in function.own_nodes)


def _role(function: Function) -> str:
    return f"the fixture {function.fixture_name}" if function.fixture_scope else function.title
