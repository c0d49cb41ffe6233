"""Finds where the tests start brokers and make clients."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from .finding import Finding
from .parsing import SET_UP, SET_UP_ONCE, Function, shortened
from .starts import Start, find_starts, sleep_behind
from .suite import Suite

_USE_OUR_BROKER = (
    "the fixture test_mqtt_broker: one broker for the session; isolated_mqtt_broker for a test "
    "that stops or fills it"
)
_USE_OUR_BROKER_IN_A_WIDER_SCOPE = "the fixture session_mqtt_broker: one broker for the session"
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
    "mqtt_client_factory in tests with fixtures; else redirect_to_test_broker() in conftest.py, "
    "and an autouse fixture that names prompt_mqtt_clients"
)
_WIDER = {"class", "module", "package"}
_OWN_SETTINGS = {"username", "password", "tls", "websockets", "executable", "config_lines"}


def check_makers(suite: Suite) -> Iterator[Finding]:
    """Find the functions that start a broker or make a client: each start once."""
    starts = [start for module in suite.modules for start in find_starts(suite, module)]
    by_hand = {start.function for start in starts}
    functions = [function for module in suite.modules for function in module.functions]
    for start in starts:
        yield _found_start(start, _users(suite, functions, start.function, "broker"))
    for function in functions:
        if function not in by_hand:
            yield from _brokers_of(suite, function, functions)
        yield from _clients_of(suite, function, functions)


def _users(
    suite: Suite, functions: Sequence[Function], maker: Function, kind: str
) -> list[Function]:
    """Return the tests and set-ups that make something by calling *maker*."""
    names = SET_UP | SET_UP_ONCE
    users = [f for f in functions if f is not maker and (f.is_test or f.name in names)]
    return [user for user in users if maker in suite.makers(user, kind)]


def _found_start(start: Start, users: Sequence[Function]) -> Finding:
    function, call = start.function, start.call
    kind, when = _how_often(function)
    broker = "a broker" if start.broker == "mosquitto" else f"a broker, {start.broker}"
    what = f"{_role(function)} starts {broker}, {when}: {shortened(call)}{_called_by(users)}"
    instead = _USE_ONE_CALL.format(start.replacement)
    if kind != "helper-starts-broker":
        instead = f"{_fixture_for(function)}; or {instead}"
    if start.doubt:
        instead += f" (fix leaves it: {start.doubt})"
    return Finding(
        function.module.path, call.lineno, kind, what, instead, certain=bool(start.rewrites)
    )


def _how_often(function: Function) -> tuple[str, str]:
    """Return the kind of a finding, and for what a broker is started."""
    scope = function.fixture_scope
    if function.name in SET_UP or scope == "function":
        return "per-test-broker", "for each test"
    if function.is_test:
        return "per-test-broker", "of its own"
    if scope in _WIDER:
        return "per-module-broker", f"for each {scope}"
    return "helper-starts-broker", f"by hand ({scope} scope)" if scope else "outside of any fixture"


def _fixture_for(function: Function) -> str:
    is_wide = function.fixture_scope in _WIDER
    return _USE_OUR_BROKER_IN_A_WIDER_SCOPE if is_wide else _USE_OUR_BROKER


def _called_by(users: Sequence[Function]) -> str:
    if not users:
        return ""
    first = users[0].title
    return f", for {first}" + (f" and {len(users) - 1} more that call it" if users[1:] else "")


def _brokers_of(
    suite: Suite, function: Function, functions: Sequence[Function]
) -> Iterator[Finding]:
    call = _broker_told(suite, function)
    if call is None:
        return
    kind, when = _how_often(function)
    is_direct = suite.is_direct(function, call, "broker")
    users = _users(suite, functions, function, "broker") if is_direct else []
    what = f"{_role(function)} starts a broker, {when}: {shortened(call)}{_called_by(users)}"
    instead = _USE_OUR_BROKER_OBJECT if kind == "helper-starts-broker" else _fixture_for(function)
    sleep = sleep_behind(function, call)
    instead += f"; without the sleep in line {sleep.lineno}" if sleep else ""
    yield Finding(function.module.path, call.lineno, kind, what, instead, False)


def _broker_told(suite: Suite, function: Function) -> ast.Call | None:
    """Return the call by which *function* starts a broker, where that is to be told of it."""
    call = suite.starts_broker(function)
    if call is None or _has_settings_of_its_own(call):
        return None
    if function.fixture_scope is not None:
        return None if function.fixture_scope in ("session", "dynamic") else call
    # Else it is there on purpose, or told where it is.
    is_told = suite.is_direct(function, call, "broker") and not _is_ours(suite, function)
    return call if is_told else None


def sleeps_behind_brokers(suite: Suite) -> Iterator[ast.stmt]:
    """Yield the sleeps that are told with the start of a broker: one cause, one finding."""
    for module in suite.modules:
        by_hand = [(start.function, start.call) for start in find_starts(suite, module)]
        known = {function for function, _ in by_hand}
        others = [(f, _broker_told(suite, f)) for f in module.functions if f not in known]
        for function, call in (*by_hand, *others):
            sleep = sleep_behind(function, call) if call else None
            if sleep is not None:
                yield sleep


def _has_settings_of_its_own(call: ast.Call) -> bool:
    """Say so of a TestMQTTBroker that the session's cannot stand in for."""
    return bool({keyword.arg for keyword in call.keywords} & _OWN_SETTINGS)


def _is_ours(suite: Suite, function: Function, depth: int = 3) -> bool:
    """Say whether the broker that *function* starts, itself or by a helper, is one of ours."""
    call = suite.starts_broker(function)
    if call is None or depth == 0:
        return False
    if suite.is_direct(function, call, "broker"):
        return function.module.resolve(call.func).endswith(("TestMQTTBroker", "MQTTTestBroker"))
    helpers = [helper for helper in suite.called(function, call) if suite.starts_broker(helper)]
    return all(_is_ours(suite, helper, depth - 1) for helper in helpers)


def _clients_of(
    suite: Suite, function: Function, functions: Sequence[Function]
) -> Iterator[Finding]:
    call = suite.makes_client(function)
    if call is None or function.is_test or _is_thrown_away(function, call):
        return
    path = function.module.path
    if function.fixture_scope:
        what = f"{_role(function)} makes a real client: {shortened(call)}"
        yield Finding(path, call.lineno, "client-in-fixture", what, _USE_OUR_CLIENTS, False)
    elif suite.is_direct(function, call, "client"):
        users = [f for f in _users(suite, functions, function, "client") if not f.is_test]
        what = f"{function.title} makes a client, outside of any fixture: {shortened(call)}"
        what += _called_by(users)
        yield Finding(path, call.lineno, "helper-makes-client", what, _USE_PROMPT_CLIENTS, False)


def _is_thrown_away(function: Function, call: ast.Call) -> bool:
    """Say so of the call of a helper that merely uses a client, to see if a broker is there."""
    return any(isinstance(n, ast.Expr) and n.value is call for n in function.own_nodes)


def _role(function: Function) -> str:
    return f"the fixture {function.fixture_name}" if function.fixture_scope else function.title
