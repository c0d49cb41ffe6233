"""Leads connections to hard-coded addresses to brokers of the tests."""

from __future__ import annotations

import contextlib
import ipaddress
import weakref
from collections.abc import Collection, Container, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Callable, NamedTuple

import paho.mqtt.client as mqtt
import pytest

from ..broker.connections import reserve_port
from ..broker.external import SessionBroker
from ..broker.plugin import broker_of_session, used_by_all_tests
from ..broker.process import TestMQTTBroker, is_a_test_broker
from ..originals import socket, threading, variable
from ..pytest_internals import sets_up_for_several_tests
from ..summary import add_to_summary, runs
from ..wire.endpoint import MQTTEndpoint
from .admission import admit
from .ending import end_client, is_in_use
from .listeners import ClientListener, tell_opened
from .pool import means_a_test_broker
from .sockets import SocketLeader

LOOPBACK_HOSTS = (
    "localhost *.localhost localhost.localdomain ip6-localhost ip6-loopback 127.* ::1 0.0.0.0 ::"
).split()
"""The names and addresses under which a program finds its own machine."""

DEFAULT_PORT = 1883

NO_BROKER = "no_mqtt_broker"
"""The marker of tests that want no broker there."""

DEAD_HOST = "127.0.0.1"


class Redirection(NamedTuple):
    """Which connections are led where."""

    ports: Container[int]
    hosts: Collection[str]
    brokers: Mapping[int, TestMQTTBroker]
    """By port; the other ports lead to the session's."""

    default: Callable[[], SessionBroker] = broker_of_session

    def has(self, port: int) -> bool:
        """Return whether connections to *port* are led."""
        return port in self.ports or port in self.brokers

    def names(self, host: str) -> bool:
        """Return whether connections to *host* are led."""
        name = _plain(host)
        return any(fnmatchcase(name, _plain(pattern)) for pattern in self.hosts)

    def broker_for(self, port: int) -> SessionBroker:
        """Return the broker that connections to *port* are led to."""
        return self.brokers[port] if port in self.brokers else self.default()


def _plain(host: str) -> str:
    """Return the one spelling of a name or an address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().rstrip(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


class Redirections(ClientListener, SocketLeader):
    """Leads the clients of this process to brokers of the tests while any redirection counts."""

    def __init__(self) -> None:
        self.test: pytest.Item | None = None
        """The one that runs, until it is torn down."""
        self._counting: list[Redirection] = []
        self._life = contextlib.ExitStack()
        self._brokers: set[SessionBroker] = set()
        self._dead_address: MQTTEndpoint | None = None
        self._addresses: set[str] = set()  # of hosts that were named by their name
        self._led: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def counting(self, redirection: Redirection) -> Iterator[None]:
        """Let *redirection* count from here to the end of the block."""
        self._counting.append(redirection)
        if len(self._counting) == 1:
            self._life.enter_context(self.active())
            self._life.enter_context(self.leading_sockets())
        try:
            yield
        finally:
            self._counting.remove(redirection)
            if not self._counting:
                self._life.close()
                self._brokers.clear()
                self._dead_address = None
            for broker in redirection.brokers.values():
                broker.stop()

    def end_clients(self) -> None:
        """End the clients that were led: they would find what is really at their addresses."""
        for client in filter(is_in_use, tuple(self._led)):
            with contextlib.suppress(TimeoutError):
                end_client(client, timeout=1.0)

    def route(self, client: mqtt.Client, host: str, port: int) -> tuple[str, int]:
        """Lead *client* to a broker of the tests if a redirection says so."""
        if means_a_test_broker(client, host, port):
            return host, port
        endpoint = self.endpoint_for(host, port)
        if endpoint is None:
            self.passed_over(host, port)
            return host, port
        admit(client, endpoint)
        self._led.add(client)
        return endpoint.host, endpoint.port

    def endpoint_for(self, host: str, port: int) -> MQTTEndpoint | None:
        """Return where a connection to *host* and *port* is led to; None where it is not."""
        naming = [r for r in self._counting if r.has(port) and r.names(host)]
        if not naming or is_a_test_broker(host, port):
            return None
        with self._lock:
            if self._is_deserted(port):
                return self._reserve_dead_address()
            return self._started(naming[0].broker_for(port))

    def passed_over(self, host: str, port: int, addresses: Collection[str] = ()) -> None:
        """Name a host in the summary that was asked for on a port that is led."""
        having = [redirection for redirection in self._counting if redirection.has(port)]
        is_known = host in self._addresses or is_a_test_broker(host, port)
        if not having or is_known or any(r.names(a) for r in having for a in addresses):
            return
        self._addresses.update(addresses)
        test = variable("PYTEST_CURRENT_TEST", "outside of tests").split(" ")[0]
        add_to_summary(
            "MQTT connections that were not redirected",
            f"{host}:{port} is not among the hosts of redirect_to_test_broker(hosts=...) or of "
            "the fixture redirected_mqtt_hosts. It was asked for in",
            test,
        )

    def opening(self, connection: socket.socket, host: str, port: int) -> None:
        """Tell the listeners of a connection to a broker of ours."""
        address = host.rpartition(":")[2], port  # without what maps it to IPv6
        if address in {(broker.host, broker.port) for broker in self._brokers}:
            tell_opened(connection)

    def _started(self, broker: SessionBroker) -> SessionBroker:
        """Return *broker*, started once: what a test does to it is not undone in that test."""
        if broker not in self._brokers:
            self._life.enter_context(used_by_all_tests(broker))
            self._brokers.add(broker)
        return broker

    def _is_deserted(self, port: int) -> bool:
        if self.test is None or sets_up_for_several_tests():
            return False
        markers = self.test.iter_markers(NO_BROKER)
        return any(not marker.args or port in marker.args for marker in markers)

    def _reserve_dead_address(self) -> MQTTEndpoint:
        """Return an address at which nothing listens, as long as this is in force."""
        if self._dead_address is None:
            reservation = self._life.enter_context(reserve_port(DEAD_HOST, 0))
            self._dead_address = MQTTEndpoint(DEAD_HOST, reservation.getsockname()[1])
        return self._dead_address


redirections = Redirections()

_life = pytest.StashKey[contextlib.ExitStack]()


def redirect_to_test_broker(
    *ports: int,
    hosts: Collection[str] = LOOPBACK_HOSTS,
    brokers: Mapping[int, TestMQTTBroker] | None = None,
) -> None:
    """Lead connections to hard-coded addresses to the session's broker, to the end of the run.

    To be called at the top level of a conftest.py; it is in force from there on, for clients that
    are made while tests are collected, too. Brokers start when they are first needed. Usage::

        redirect_to_test_broker()  # port 1883 of this machine
        redirect_to_test_broker(1883, 1884, hosts=["mqtt.example.org", *LOOPBACK_HOSTS])
        redirect_to_test_broker(1883, brokers={1885: TestMQTTBroker(), 1886: TestMQTTBroker()})

    Args:
        *ports: those that lead to the session's broker; 1883 where none is given.
        hosts: names and addresses, also patterns such as ``*.example.org``.
        brokers: further brokers, each with the port that leads to it.
    """
    redirection = Redirection(ports or (DEFAULT_PORT,), hosts, brokers or {})
    _check(redirection)
    for run in runs[-1:]:  # outside of pytest there is none
        life = run.stash.setdefault(_life, contextlib.ExitStack())
        life.enter_context(redirections.counting(redirection))
        run.add_cleanup(life.close)


def end_redirections(run: pytest.Config) -> None:
    """End what ``redirect_to_test_broker`` has begun, while its brokers are still there."""
    if _life in run.stash:
        redirections.end_clients()
        run.stash[_life].close()


def _check(redirection: Redirection) -> None:
    if isinstance(redirection.hosts, str):
        raise TypeError(f"hosts is a list of names, not one string: hosts=[{redirection.hosts!r}]")
    for port in (*redirection.ports, *redirection.brokers):  # type: ignore[misc]
        if not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"{port!r} is no port: those are whole numbers from 1 to 65535")
