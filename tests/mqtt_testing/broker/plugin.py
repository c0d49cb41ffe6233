"""The fixtures of brokers, and what reports say about them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest

from ..originals import os, tempfile, variable
from ..pytest_internals import value_in_use
from ..summary import add_to_summary, runs
from ..wire.endpoint import address
from .binary import find_mosquitto, mosquitto_version
from .child import LOG_NAME, LOG_TAIL_LINES
from .errors import BrokerError, remedies
from .external import ExternalMQTTBroker, SessionBroker
from .folder import FOLDER_PREFIX
from .process import TestMQTTBroker

# What the door gives
__all__ = ["BrokerError", "TestMQTTBroker", "isolated_mqtt_broker", "live_mqtt_broker"]
__all__ += ["session_mqtt_broker", "test_mqtt_broker"]

_session_broker = pytest.StashKey[SessionBroker]()

_given_up: weakref.WeakKeyDictionary[SessionBroker, str] = weakref.WeakKeyDictionary()
"""The brokers that could not be started, each with the error."""

_used: dict[SessionBroker, int] = {}
"""The brokers that this test uses, each with the position in its log at which the test began."""

further_sections: list[Callable[[Mapping[SessionBroker, int]], tuple[str, str] | None]] = []
"""What gives a failed test's report another section, by the brokers that the test uses."""

_of_all_tests: list[SessionBroker] = []
"""The brokers to which connections are led from now on, without a fixture."""


@contextlib.contextmanager
def errors_as_failures(kind: type[Exception] = BrokerError) -> Iterator[None]:
    """Turn our errors into failures without a traceback: the message says it all."""
    try:
        yield
    except kind as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def broker_of_session() -> SessionBroker:
    """Return the session's broker, started or not."""
    stash = runs[-1].stash
    if _session_broker not in stash:
        # Not in a local variable, which pytest may show: the URL may hold a password.
        stash[_session_broker] = (
            ExternalMQTTBroker(os.environ["MQTT_TEST_BROKER_URL"])
            if variable("MQTT_TEST_BROKER_URL")
            else TestMQTTBroker()
        )
    return stash[_session_broker]


@pytest.fixture(scope="session")
def session_mqtt_broker() -> Iterator[SessionBroker]:
    """The broker of this session (of each worker, under pytest-xdist)."""
    with errors_as_failures():
        broker = broker_of_session()
    use_broker(broker)
    yield broker
    _tell_death_between_tests(broker)
    broker.stop()


@pytest.fixture
def live_mqtt_broker(session_mqtt_broker: SessionBroker) -> Iterator[SessionBroker]:
    """The session's broker, running at the start of the test whatever the last one did to it."""
    use_broker(session_mqtt_broker)
    yield session_mqtt_broker
    death = session_mqtt_broker.report_death()
    if death:
        pytest.fail(death, pytrace=False)


@pytest.fixture
def test_mqtt_broker(live_mqtt_broker: SessionBroker) -> SessionBroker:
    """The session's broker, under the name that suites use; override it as you like."""
    return live_mqtt_broker


@pytest.fixture
def isolated_mqtt_broker() -> Iterator[TestMQTTBroker]:
    """A broker for one test alone: to be killed, paused, or filled with persistent sessions."""
    broker = TestMQTTBroker()
    use_broker(broker)
    yield broker
    broker.stop()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the session's broker again before the fixtures and clients of a test look for it.

    A test may know it by fixtures of a wider scope alone, which are not set up again. What the test
    before has used, or an earlier try of this one, is forgotten.
    """
    _used.clear()
    broker = value_in_use("session_mqtt_broker", item)  # perhaps of a user's own fixture
    for needed in [*_of_all_tests, *([] if broker is None else [broker])]:
        use_broker(needed)


def use_broker(broker: SessionBroker) -> None:
    """Start *broker* where it does not run; where that has failed once, fail without a wait."""
    if broker in _used:
        return
    _tell_death_between_tests(broker)
    position = broker.log_position
    with errors_as_failures():
        if broker in _given_up:
            raise BrokerError(f"The broker could not be started again. {_given_up[broker]}")
        try:
            broker.start()
        except BrokerError as error:
            _given_up[broker] = str(error)
            raise
    _used[broker] = position


@contextlib.contextmanager
def used_by_all_tests(broker: SessionBroker) -> Iterator[None]:
    """Start *broker*, and start it again before each test that finds it ended."""
    use_broker(broker)
    _of_all_tests.append(broker)
    try:
        yield
    finally:
        _of_all_tests.remove(broker)


def brokers_of_test() -> Collection[SessionBroker]:
    """Return the brokers of our fixtures that this test uses."""
    return _used.keys()


def _tell_death_between_tests(broker: SessionBroker) -> None:
    death = broker.report_death()
    if death:
        add_to_summary("mosquitto died between two tests", death)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a test in which a broker died, and add to a failed one's report what the brokers say."""
    outcome: Any = yield
    report = outcome.get_result()
    session_broker = value_in_use("session_mqtt_broker", item)
    if session_broker is not None:
        _used.setdefault(session_broker, 0)  # this test has started it
    for broker, start in _used.items():
        # What dies as wider fixtures are torn down has died between two tests.
        is_told_here = report.when != "teardown" and not report.skipped
        death = broker.report_death() if is_told_here else ""
        if death and not report.failed:
            report.outcome, report.longrepr = "failed", death
        elif report.failed:
            lines = [death] if death else broker.log_since(start).splitlines()[-LOG_TAIL_LINES:]
            place = f" ({broker.log_path})" if broker.log_path else ""
            if lines:
                title = f"mosquitto log of {broker.host}:{broker.port}{place}"
                report.sections.append((title, "\n".join(lines)))
    if report.failed:
        sections = [describe(_used) for describe in further_sections]
        report.sections += [section for section in sections if section]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Let a broker go on that the test has left paused: what is torn down now needs it."""
    for broker in _used:
        if isinstance(broker, TestMQTTBroker) and broker.is_running():
            broker.resume()


pytest_sessionfinish = pytest_runtest_teardown  # of a test that Ctrl-C has ended


def pytest_report_header(config: pytest.Config) -> str:
    """Print mosquitto's version, and where the session's broker and its log will be.

    The port is reserved and the folder made for that; mosquitto starts with the first test that
    uses it. The report of a failed test names the address and log of each broker it used.
    """
    try:
        return f"mosquitto: {_describe_broker(config)}"
    except BrokerError as error:
        return f"mosquitto: {error}"


def _describe_broker(config: pytest.Config) -> str:
    broker = broker_of_session()
    if isinstance(broker, ExternalMQTTBroker):
        return f"{address(broker)}, which MQTT_TEST_BROKER_URL names"
    executable = find_mosquitto()
    binary = f"version {mosquitto_version(executable) or 'unknown'} ({executable})"
    if config.pluginmanager.has_plugin("dsession"):
        logs = Path(tempfile.gettempdir(), f"{FOLDER_PREFIX}*", LOG_NAME)
        place = f"one a worker at 127.0.0.1, logs {logs}"
        return f"{binary}, {place}; the report of a failed test names its own"
    with remedies():
        broker.reserve()
    return f"{binary}, session broker at {broker.host}:{broker.port}, log {broker.log_path}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was made for a session's broker that was not started."""
    if _session_broker in config.stash:
        config.stash[_session_broker].stop()
