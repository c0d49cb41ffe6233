"""Finds the waits for brokers, clients and services."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator

from .certainty import Rewriter
from .finding import Finding
from .parsing import (
    LOOPS,
    SET_UP,
    SET_UP_ONCE,
    Function,
    Module,
    called_name,
    shortened,
    unparsed,
)
from .sleeps import Wait, name_looked_at, waits_in
from .starts import find_starts
from .suite import Suite

_NO_WAIT_FOR_A_BROKER = (
    "the fixture test_mqtt_broker (session_mqtt_broker in a wider scope): it answers when the "
    "test begins"
)
_NO_WAIT_BEHIND_A_START = (
    "no wait: TestMQTTBroker(...).start(), in place of the process, returns when it answers"
)
_NO_WAIT_IN_A_FIXTURE = (
    "no wait: override_fixture(name, service_fixture(...)) connects the service, runs its tasks "
    "when a test says so, and ends what it started"
)
_NO_WAIT_IN_THE_SLOW_FIXTURE = "nothing: the fast fixture takes the place of this one (apply)"
_NO_WAIT_FOR_A_MESSAGE = (
    "mqtt_monitor.wait_for(topic), which returns as soon as the message is there, or "
    "mqtt_monitor.assert_none(topic)"
)
_IN_A_TEST_CASE = (
    "a threading.Event that on_message of a client sets, and its wait(timeout) asserted (a "
    "TestCase gets no fixtures by their names)"
)
_FOR_THE_REPLY = (
    ", for what the service publishes in reply; not for the command's own {}, which is on the "
    "broker before the service has dealt with it. Where it publishes nothing, the explicit call of "
    "what deals with it"
)
_NO_WAIT_FOR_A_SUBSCRIPTION = (
    "a threading.Event that on_subscribe of the client sets, and its wait(timeout) asserted"
)
_PUBLISHERS = {"publish", "single", "multiple"}


def check_waits(suite: Suite, module: Module) -> Iterator[Finding]:
    """Find what sleeps or polls for a broker, a client or a service."""
    rewrites = [rewrite for start in find_starts(suite, module) for rewrite in start.rewrites]
    removed = {rewrite.line for rewrite in rewrites if not rewrite.statements}
    for wait in find_waits(suite, module):
        is_removed = wait.statement.lineno in removed
        if wait.rewrite:
            replacement = "; ".join(wait.rewrite.statements)
        else:
            replacement = _NO_WAIT_BEHIND_A_START if is_removed else _suggestion(suite, wait)
        yield Finding(
            module.path,
            wait.sleep.lineno,
            "wait-for-background",
            _describe(wait),
            replacement,
            wait.rewrite is not None or is_removed,
        )


def _describe(wait: Wait) -> str:
    how = "polls for" if isinstance(wait.statement, LOOPS) else "sleeps for"
    by = f" by {wait.helper}" if wait.helper else ""
    title = wait.function.title
    if wait.looked_at:
        return f"{title} {how} background work{by} before it looks at {wait.looked_at}"
    if wait.function.fixture_scope:
        return f"the fixture {wait.function.fixture_name} {how} a broker, client or service{by}"
    return f"{title} {how} a broker, client or service{by}, for all that call it"


def _suggestion(suite: Suite, wait: Wait) -> str:
    function = wait.function
    if function.is_test and wait.looked_at:
        return _suggestion_for_a_test(suite, wait)
    if suite.starts_broker(function):
        has_fixtures = function.fixture_scope or function.is_test
        return _NO_WAIT_FOR_A_BROKER if has_fixtures else _NO_WAIT_BEHIND_A_START
    if function.fixture_scope and function.fixture_name == "camera_detector":
        return _NO_WAIT_IN_THE_SLOW_FIXTURE
    if function.fixture_scope or function.name in SET_UP | SET_UP_ONCE:
        return _NO_WAIT_IN_A_FIXTURE
    return _NO_WAIT_FOR_A_MESSAGE


def _suggestion_for_a_test(suite: Suite, wait: Wait) -> str:
    function = wait.function
    last = _last_act_before(wait)
    if last is not None and called_name(last) == "subscribe":
        return _NO_WAIT_FOR_A_SUBSCRIPTION
    message = _IN_A_TEST_CASE if function.is_in_test_case else _NO_WAIT_FOR_A_MESSAGE
    if last is not None and not _hears_itself(function, last):
        wait_for = message if function.is_in_test_case else "mqtt_monitor.wait_for(topic)"
        topic = shortened(last.args[0]) if last.args else "topic"
        message = wait_for + _FOR_THE_REPLY.format(topic)
    detectors = [p for p in function.params if suite.is_camera_detector(function, p)]
    if not detectors:
        return message
    name = detectors[0]
    return (
        f"{name}.test_run_discovery_once() or {name}.test_run_health_check_once(), if it waits "
        f"for one of them; for a message, {message}"
    )


def _last_act_before(wait: Wait) -> ast.Call | None:
    """Return the last call before a wait that subscribes, or publishes something."""
    acts = [
        call
        for call in wait.function.calls
        if called_name(call) in {*_PUBLISHERS, "subscribe"} and call.lineno < wait.statement.lineno
    ]
    return max(acts, key=lambda call: call.lineno, default=None)


def _hears_itself(function: Function, publish: ast.Call) -> bool:
    """Say whether a test subscribes to the very topic that it publishes to."""
    heard = [c.args[0] for c in function.calls if called_name(c) == "subscribe" and c.args]
    sent = unparsed(publish.args[0]) if publish.args else ""
    return any(unparsed(topic) in (sent, "'#'") for topic in heard)


def find_waits(suite: Suite, module: Module) -> Iterator[Wait]:
    """Yield the waits of a module, each with its rewrite where that is certain."""
    for function in module.functions:
        ran: list[str] = []  # what earlier rewrites of the test run explicitly
        for wait in waits_in(suite, function, function.node.body):
            if not function.is_test:
                if suite.is_in_use(function):
                    yield wait
                continue
            looked_at = name_looked_at(suite, wait)
            if looked_at:
                rewrite = Rewriter(suite, wait, ran).rewrite()
                ran += rewrite.statements if rewrite else ()
                yield dataclasses.replace(wait, looked_at=looked_at, rewrite=rewrite)
