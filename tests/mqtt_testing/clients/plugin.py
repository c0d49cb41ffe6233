"""The fixtures of clients."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Container, Iterator, Mapping
from typing import Any, Callable

import paho.mqtt.client as mqtt  # pip install paho-mqtt
import pytest

from ..broker.connections import sessions_left
from ..broker.external import SessionBroker
from ..broker.plugin import brokers_of_test, errors_as_failures, further_sections
from ..broker.process import TestMQTTBroker
from ..originals import os
from ..pytest_internals import LEAKS_ON_PURPOSE, scope_in_use
from ..summary import add_to_summary
from ..wire.endpoint import address
from .admission import DeadBrokerError, MQTTConnectionError
from .async_tests import register_where_async
from .lingering import lingering_tasks
from .listeners import listeners_of
from .monitor import MQTTMonitor
from .pool import SharedMQTTPool
from .prompt_clients import PromptClients
from .redirection import (
    DEFAULT_PORT,
    LOOPBACK_HOSTS,
    NO_BROKER,
    Redirection,
    end_redirections,
    redirect_to_test_broker,
    redirections,
)
from .settling import settle_mqtt_clients
from .traffic import begin_test

__all__ = [
    "LOOPBACK_HOSTS",
    "MQTTConnectionError",
    "MQTTMonitor",
    "SharedMQTTPool",
    "clean_mqtt_broker",
    "mqtt_client",
    "mqtt_client_factory",
    "mqtt_monitor",
    "mqtt_topic_factory",
    "mqtt_topic_prefix",
    "prompt_mqtt_clients",
    "redirect_to_test_broker",
    "redirected_mqtt_brokers",
    "redirected_mqtt_clients",
    "redirected_mqtt_hosts",
    "redirected_mqtt_ports",
    "settle_mqtt_clients",
    "shared_mqtt_pool",
]


_TRAFFIC = "MQTT traffic (milliseconds since the test's set-up began)"


def _describe_traffic(brokers: Mapping[SessionBroker, int]) -> tuple[str, str] | None:
    try:
        from .timeline import describe_traffic  # on use: a run may be green

        lines = describe_traffic(brokers)
    except Exception as error:  # noqa: BLE001 - a mock that is still in force may raise anything
        lines = f"It cannot be told, perhaps by reason of a mock of this test: {error!r}"
    return (_TRAFFIC, lines) if lines else None


further_sections.append(_describe_traffic)

PREFIX_VARIABLES = ("MQTT_TOPIC_PREFIX", "MQTT_BASE_TOPIC", "MQTT_PREFIX")
"""Environment variables by which services are often told where their topics begin."""


@pytest.fixture(scope="session")
def shared_mqtt_pool(session_mqtt_broker: SessionBroker) -> Iterator[SharedMQTTPool]:
    """The pool of this session."""
    params = session_mqtt_broker.get_connection_params()
    security = session_mqtt_broker.get_security_params()
    with SharedMQTTPool({**params, **security}) as pool:
        pool.broker_died = session_mqtt_broker.died
        yield pool
    lingering_tasks.close()
    for line in _topics_that_runs_share(pool):
        add_to_summary("topics that other test runs on this broker see", line)


def _topics_that_runs_share(pool: SharedMQTTPool) -> Iterator[str]:
    prefix = pool.endpoint.topic_prefix
    outside = sorted(topic for topic in pool.topics if not topic.startswith(prefix))
    if outside:
        yield (
            f"{len(outside)} outside of {prefix!r}, such as {', '.join(outside[:3])}. Let the "
            f"service take its prefix from one of {', '.join(PREFIX_VARIABLES)}, which its fixture "
            "sets; or unset MQTT_TEST_BROKER_URL, and each run starts a broker of its own."
        )


@pytest.fixture
def clean_mqtt_broker(
    live_mqtt_broker: SessionBroker, shared_mqtt_pool: SharedMQTTPool
) -> Iterator[SharedMQTTPool]:
    """A broker that after the test retains what it did before, and knows no more sessions."""
    with errors_as_failures():
        shared_mqtt_pool.barrier()
        retained_before = shared_mqtt_pool.watch().know_retained()
    start_of_log = live_mqtt_broker.log_position
    shared_mqtt_pool.start_of_test = shared_mqtt_pool.history.position
    shared_mqtt_pool.other_brokers.clear()
    lingering_tasks.begin()
    yield shared_mqtt_pool
    lingering_tasks.end()
    shared_mqtt_pool.start_of_test = None
    # On a broker of others, what they publish meanwhile is theirs.
    only = None if isinstance(live_mqtt_broker, TestMQTTBroker) else shared_mqtt_pool.topics
    with errors_as_failures(), contextlib.suppress(DeadBrokerError):
        if retained_before and not live_mqtt_broker.died():
            live_mqtt_broker.start()  # the test may have ended with it stopped
        if live_mqtt_broker.is_running():  # a dead one retains nothing, and is reported elsewhere
            shared_mqtt_pool.restore_retained(retained_before, only)
            _end_sessions(live_mqtt_broker, start_of_log)


def _end_sessions(broker: SessionBroker, start_of_log: int) -> None:
    """End the sessions of clients, of whatever library, that have come and gone in a test."""
    for client_id in sessions_left(broker.log_since(start_of_log)):
        with contextlib.suppress(OSError):
            broker.end_session(client_id)


@pytest.fixture
def mqtt_client_factory(
    clean_mqtt_broker: SharedMQTTPool,
) -> Iterator[Callable[..., mqtt.Client]]:
    """Makes clients on loan, as in ``mqtt_client_factory(client_id="one")``, for one test."""
    clients: list[mqtt.Client] = []

    def acquire(**options: Any) -> mqtt.Client:
        clients.append(clean_mqtt_broker.acquire(**options))
        return clients[-1]

    yield acquire
    clean_mqtt_broker.release_all(clients)


@pytest.fixture
def mqtt_client(mqtt_client_factory: Callable[..., mqtt.Client]) -> mqtt.Client:
    """A client on loan: connected, its network loop running."""
    return mqtt_client_factory()


@pytest.fixture
def mqtt_monitor(
    request: pytest.FixtureRequest, clean_mqtt_broker: SharedMQTTPool
) -> Iterator[MQTTMonitor]:
    """What is published in this test."""
    monitor = MQTTMonitor(clean_mqtt_broker)
    yield monitor
    if monitor.dropped:
        line = f"{request.node.nodeid}: {monitor.describe_dropped()}"
        add_to_summary("messages that mqtt_monitor did not keep", line)
    others = clean_mqtt_broker.other_brokers - {(b.host, b.port) for b in brokers_of_test()}
    for host, port in others:
        line = (
            f"{request.node.nodeid}: mqtt_monitor watches {address(clean_mqtt_broker.endpoint)}, "
            f"and a client was connected to {host}:{port}. What is published there it does not "
            "see. A fixture of yours that starts a broker is to return session_mqtt_broker."
        )
        add_to_summary("tests with two brokers", line)
    monitor.check_awaited()


@pytest.fixture(scope="session")
def mqtt_topic_prefix(session_mqtt_broker: SessionBroker) -> str:
    """What topics have to begin with on a broker that test runs share; else empty."""
    return session_mqtt_broker.topic_prefix


@pytest.fixture
def mqtt_topic_factory(
    request: pytest.FixtureRequest, mqtt_topic_prefix: str
) -> Callable[[str], str]:
    """Makes topics that no other test uses: ``mqtt_topic_factory("status")``."""
    run = mqtt_topic_prefix or f"test/{os.getpid()}"
    prefix = f"{run}/{next(_topic_numbers)}/{request.node.name}"
    for wildcard in "+#":
        prefix = prefix.replace(wildcard, "_")
    return lambda topic: f"{prefix}/{topic}"


_topic_numbers = itertools.count()


@pytest.fixture(scope="session")
def redirected_mqtt_ports() -> Container[int]:
    """The ports that ``redirected_mqtt_clients`` leads to the session's broker."""
    return (DEFAULT_PORT,)


@pytest.fixture(scope="session")
def redirected_mqtt_hosts() -> Collection[str]:
    """The hosts whose connections ``redirected_mqtt_clients`` redirects."""
    return LOOPBACK_HOSTS


@pytest.fixture(scope="session")
def redirected_mqtt_brokers() -> Mapping[int, TestMQTTBroker]:
    """Further brokers of ``redirected_mqtt_clients``, each with the port that leads to it."""
    return {}


@pytest.fixture(scope="session")
def redirected_mqtt_clients(
    session_mqtt_broker: SessionBroker,
    redirected_mqtt_ports: Container[int],
    redirected_mqtt_hosts: Collection[str],
    redirected_mqtt_brokers: Mapping[int, TestMQTTBroker],
) -> Iterator[None]:
    """Connections to port 1883 of this machine go to the session's broker."""
    redirection = Redirection(
        redirected_mqtt_ports,
        redirected_mqtt_hosts,
        redirected_mqtt_brokers,
        lambda: session_mqtt_broker,
    )
    with redirections.counting(redirection):
        yield


@pytest.fixture(scope="session")
def prompt_mqtt_clients(pytestconfig: pytest.Config) -> Iterator[None]:
    """Network loops end at once when stopped; clients left running are stopped and named."""
    with PromptClients(pytestconfig).active():
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line(
        "markers", f"{LEAKS_ON_PURPOSE}: what the test leaves running is not ended after it"
    )
    config.addinivalue_line(
        "markers",
        f"{NO_BROKER}(*ports): of the ports that are redirected, nothing listens at these, or "
        "without arguments at any",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Know when a test begins, and what its markers say."""
    begin_test(pool.history for pool in listeners_of(SharedMQTTPool))
    lingering_tasks.test = item
    redirections.test = item


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """End what the marker of a test says before fixtures of a wider scope are torn down."""
    redirections.test = None


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the redirections of the run."""
    end_redirections(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Know event loops where there are async tests."""
    register_where_async(lingering_tasks, config, items)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put a test's clean broker first, so that it is cleaned after all other fixtures."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "clean_mqtt_broker" in names:
        wider = [n for n in names if scope_in_use(n, item) != "function"]
        own = [name for name in names if name not in wider]
        names[:] = [*wider, *sorted(own, key=lambda name: name != "clean_mqtt_broker")]
