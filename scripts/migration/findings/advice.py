"""What to write in the place of a wait."""

from __future__ import annotations

import ast

from .parsing import SET_UP, SET_UP_ONCE, Function, called_name, shortened, unparsed
from .pauses import PUBLISHERS, looks_at_a_moment, program_before
from .sleeps import Wait, looks_after
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
_NO_WAIT_BEHIND_AN_AWAIT = (
    "no wait: an awaited subscribe() is over when the broker has acknowledged the subscription"
)
_NO_WAIT_FOR_A_PROGRAM = (
    "no wait of a fixed length: what the program publishes or prints as it is ready, as in "
    "mqtt_monitor.wait_for(topic)"
)
_NO_PAUSE_IN_PLACE_OF_THE_TASK = (
    "{0}.test_run_discovery_once() or {0}.test_run_health_check_once() behind the pause, which "
    "only has to be as long as the clock takes to go on"
)


def instead_of(suite: Suite, wait: Wait) -> str:
    """Return what to write in the place of *wait*, for people to decide on."""
    advice = _suggestion(suite, wait)
    if isinstance(wait.function.node, ast.AsyncFunctionDef):
        return advice.replace("mqtt_monitor.wait_for(", "await mqtt_monitor.wait_for(")
    return advice


def _suggestion(suite: Suite, wait: Wait) -> str:
    function = wait.function
    if function.is_test and wait.looked_at:
        return _suggestion_for_a_test(suite, wait)
    if program_before(suite, wait):
        return _NO_WAIT_FOR_A_PROGRAM
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
        is_awaited = any(isinstance(n, ast.Await) and n.value is last for n in function.own_nodes)
        return _NO_WAIT_BEHIND_AN_AWAIT if is_awaited else _NO_WAIT_FOR_A_SUBSCRIPTION
    message = _IN_A_TEST_CASE if function.is_in_test_case else _NO_WAIT_FOR_A_MESSAGE
    if last is not None and not _hears_itself(function, last):
        wait_for = message if function.is_in_test_case else "mqtt_monitor.wait_for(topic)"
        topic = shortened(last.args[0]) if last.args else "topic"
        message = wait_for + _FOR_THE_REPLY.format(topic)
    detectors = [p for p in function.params if suite.is_camera_detector(function, p)]
    if not detectors:
        return message
    name = detectors[0]
    if looks_at_a_moment(looks_after(function, wait.statement)):
        return _NO_PAUSE_IN_PLACE_OF_THE_TASK.format(name)
    return (
        f"{name}.test_run_discovery_once() or {name}.test_run_health_check_once(), if it waits "
        f"for one of them; for a message, {message}"
    )


def _last_act_before(wait: Wait) -> ast.Call | None:
    """Return the last call before a wait that subscribes, or publishes something."""
    acts = [
        call
        for call in wait.function.calls
        if called_name(call) in {*PUBLISHERS, "subscribe"} and call.lineno < wait.statement.lineno
    ]
    return max(acts, key=lambda call: call.lineno, default=None)


def _hears_itself(function: Function, publish: ast.Call) -> bool:
    """Say whether a test subscribes to the very topic that it publishes to."""
    heard = [c.args[0] for c in function.calls if called_name(c) == "subscribe" and c.args]
    sent = unparsed(publish.args[0]) if publish.args else ""
    return any(unparsed(topic) in (sent, "'#'") for topic in heard)
