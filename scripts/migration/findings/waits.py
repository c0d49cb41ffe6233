"""Finds the waits for brokers, clients and services."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from .certainty import Rewriter
from .finding import Finding
from .parsing import LOOPS, SET_UP, SET_UP_ONCE, Module
from .sleeps import Wait, name_looked_at, waits_in
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
_NO_WAIT_FOR_A_MESSAGE = (
    "mqtt_monitor.wait_for(topic), which returns as soon as the message is there, or "
    "mqtt_monitor.assert_none(topic)"
)


def check_waits(suite: Suite, module: Module) -> Iterator[Finding]:
    """Find what sleeps or polls for a broker, a client or a service."""
    for wait in find_waits(suite, module):
        if wait.rewrite:
            replacement = "; ".join(wait.rewrite.statements)
        else:
            replacement = _suggestion(suite, wait)
        yield Finding(
            module.path,
            wait.sleep.lineno,
            "wait-for-background",
            _describe(wait),
            replacement,
            wait.rewrite is not None,
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
    detectors = [p for p in function.params if suite.is_camera_detector(function, p)]
    if detectors and wait.looked_at:
        name = detectors[0]
        return (
            f"{name}.test_run_discovery_once() or {name}.test_run_health_check_once(), if it waits "
            f"for one of them; for a message, {_NO_WAIT_FOR_A_MESSAGE}"
        )
    if suite.starts_broker(function):
        has_fixtures = function.fixture_scope or function.is_test
        return _NO_WAIT_FOR_A_BROKER if has_fixtures else _NO_WAIT_BEHIND_A_START
    if function.fixture_scope or function.name in SET_UP | SET_UP_ONCE:
        return _NO_WAIT_IN_A_FIXTURE
    return _NO_WAIT_FOR_A_MESSAGE


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
