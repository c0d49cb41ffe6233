"""Lends clients that are connected to one broker, and undoes what they did."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Callable

import paho.mqtt.client as mqtt  # pip install paho-mqtt

from ..broker.errors import BrokerError
from ..broker.process import is_a_test_broker
from ..originals import queue, threading, time
from ..wire.packets import MQTTMessage
from . import limits
from . import paho_internals as paho
from .admission import MQTTConnectionError, admit, constructor_options, endpoint_from
from .ending import end_client
from .lending import Lending, Loan
from .listeners import SENDS_AT_ONCE, ClientListener
from .messages import History, Publications
from .network_loop import network_loop_of
from .observer import Observer

DEFAULT_PORTS = (1883, 8883)


def means_a_test_broker(client: Any, host: str, port: int) -> bool:
    """Return whether *client* wants a broker of the tests, though that may be down meanwhile."""
    if is_a_test_broker(host, port):
        vars(client)[_TEST_BROKER] = host, port
    return bool(vars(client).get(_TEST_BROKER) == (host, port))


_TEST_BROKER = "_mqtt_test_broker"


class SharedMQTTPool(ClientListener):
    """Lends paho clients that are connected to one broker, and undoes what they did.

    Usage::

        pool = SharedMQTTPool(broker.get_connection_params())
        client = pool.acquire()
        ...
        pool.release(client)
        pool.close()

    All methods may be called from any thread.

    Args:
        connection_params: ``host``, ``port``, ``keepalive`` (seconds), and what
            ``get_security_params()`` of a broker gives.
    """

    def __init__(self, connection_params: Mapping[str, Any]) -> None:
        self.endpoint = endpoint_from(connection_params)
        self._lock = threading.RLock()
        self._loans: dict[Any, Loan] = {}
        self._lending: list[Lending] = []
        self._publications = Publications()
        self.topics = self._publications.topics
        """Those on which clients of this process have published."""

        self._outsiders: weakref.WeakSet[Any] = weakref.WeakSet()
        self.start_of_test: int | None = None
        self.other_brokers: set[tuple[str, int]] = set()
        """The addresses of other brokers that have let a client of this process in."""
        self.history = History()
        self._observer: Observer | None = None
        self._connecting = threading.Lock()  # not the other, which callbacks of clients wait for
        self.broker_died: Callable[[], bool] = lambda: False
        self._life = contextlib.ExitStack()
        self._life.enter_context(self.active())
        self._life.callback(self._close_observer)
        self._life.callback(lambda: self.release_all(self.clients_on_loan()))
        self._closed = False

    def __enter__(self) -> SharedMQTTPool:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    @property
    def ref_count(self) -> int:
        """How many clients are on loan."""
        return len(self._loans)

    def watch(self) -> Observer:
        """Return the shared connection once it sees what is published from here on.

        Raises:
            MQTTConnectionError: the broker is not there, or does not let us in.
        """
        with self._connecting:
            self._require_open()
            if self._observer is None:
                observer = Observer(self.endpoint, self.history, self.broker_died)
                observer.connect()
                self._observer = observer
        self._observer.await_connection()
        return self._observer

    @property
    def network_loop(self) -> threading.Thread | None:
        """The thread of the shared connection."""
        return self._observer.network_loop if self._observer else None

    def acquire(self, **options: Any) -> mqtt.Client:
        """Return a client on loan: connected, its network loop running.

        Args:
            **options: for paho's ``Client``, such as ``client_id`` or ``protocol``.

        Raises:
            MQTTConnectionError: the broker does not let it in.
        """
        self._require_open()
        client = paho.new_client(**{**constructor_options(self.endpoint), **options})
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.on_connect = lambda *args: answers.put(args[3])
        self._lend(client)
        try:
            client.connect(**self.endpoint.get_connection_params())
            client.loop_start()
            reason = answers.get(timeout=limits.TIMEOUT)
            if reason != 0:
                raise MQTTConnectionError(self.endpoint, paho.text_of(reason))
        except BaseException as error:
            self.release(client)
            if isinstance(error, OSError):
                raise MQTTConnectionError(self.endpoint, error) from None
            if isinstance(error, queue.Empty):
                reason = f"no CONNACK within {limits.TIMEOUT:g} s"
                raise MQTTConnectionError(self.endpoint, reason) from None
            raise
        client.on_connect = None
        return client

    def release(self, client: mqtt.Client) -> None:
        """Take *client* back: no callback runs any more, and the broker has forgotten it.

        Raises:
            ValueError: it is not on loan from this pool.
            TimeoutError: a callback blocks its network loop, or the broker hangs.
        """
        with self._lock:
            if client not in self._loans:
                raise ValueError(f"{client!r} is not on loan from this pool, or not any more")
            sessions = self._loans.pop(client).sessions
        self._publications.forget(client)
        client.reconnect = paho.refuse_to_reconnect  # type: ignore[method-assign]
        try:
            end_client(client)
        finally:
            for client_id in sessions:
                if not self._is_used(client_id):
                    with contextlib.suppress(ConnectionError):  # a dead broker remembers no client
                        self.endpoint.end_session(client_id)

    def _is_used(self, client_id: str) -> bool:
        """Return whether another client, on loan or not, goes on with a session."""
        with self._lock:
            clients = {*self._loans, *self._outsiders}
        return any(
            paho.client_id_of(client) == client_id
            and paho.is_open(client)
            and (client in self._loans or self._shares_broker_with(client))
            for client in clients
        )

    @contextlib.contextmanager
    def lending(self) -> Iterator[Lending]:
        """Lend every paho client that anybody makes inside the ``with`` block; then release."""
        lending = Lending()
        with self._lock:
            self._lending.append(lending)
        try:
            yield lending
        finally:
            with self._lock:
                self._lending.remove(lending)
            self.release_all(lending.clients)

    def release_all(self, clients: Iterable[Any]) -> None:
        """Release those of *clients* that are still on loan, the last one first."""
        with contextlib.ExitStack() as releases:  # one that fails does not keep the others
            for client in clients:
                if client in self._loans:
                    releases.callback(self.release, client)

    def clients_on_loan(self) -> list[mqtt.Client]:
        """Return the clients on loan, the oldest first."""
        with self._lock:
            return list(self._loans)

    def barrier(self, timeout: float | None = None) -> None:
        """Return when the monitor has seen all that was published before this call.

        That is exact for what clients of this process have published, on loan or not, and for
        what reached the broker.

        Args:
            timeout: seconds to wait, on the connection that there is; as a rule longer, and one
                that broke is made anew.

        Raises:
            MQTTConnectionError: the broker does not answer.
        """
        if timeout is None:
            self.watch().barrier(self._publishers())
        elif self._observer is not None and self._observer.is_connected():
            self._observer.barrier(self._connected_publishers(), timeout=timeout)
        else:
            raise MQTTConnectionError(self.endpoint, "there is no connection")

    def serve(self, lending: Lending) -> None:
        """Run the network loops that no thread runs, until one does."""
        for client in lending.clients:
            with self._lock:
                loan = self._loans.get(client)
                if loan is not None and _wants_a_loop(client, loan):
                    loan.is_served_by_us = True
                    client.loop_start()

    def served(self, client: mqtt.Client) -> None:
        """Leave the network loop of a client on loan to the thread that runs it."""
        with self._lock:
            loan = self._loans.get(client)
            if loan is None or not loan.is_served_by_us:
                return
            loan.is_served_by_us = False
        client.loop_stop()
        paho.tell_loop_to_end(client, end=False)  # else its loop_forever() returns at once

    def await_connections(self, lending: Lending) -> None:
        """Return when the clients that were lent are connected, and their subscriptions in force.

        Raises:
            MQTTConnectionError: the broker does not answer.
        """
        for client in lending.clients:
            self._await_answer(client)
        self.watch().barrier_through(c for c in lending.clients if paho.is_connected(c))

    def _await_answer(self, client: Any) -> None:
        """Wait for the CONNACK of a client whose network loop is about to get it."""
        loan, network_loop = self._loans.get(client), network_loop_of(client)
        if loan is None or network_loop is None or not paho.address_of(client)[0]:
            return
        is_stuck, deadline = paho.stuck_in_callback(), time.monotonic() + limits.TIMEOUT
        while not loan.answered.wait(limits.LOOK_INTERVAL):
            if is_stuck(client) or time.monotonic() > deadline or not network_loop.is_alive():
                return

    def restore_retained(
        self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None = None
    ) -> None:
        """Make the broker retain what *wanted* says, and nothing else; of some topics *only*.

        Raises:
            MQTTConnectionError: the broker does not confirm it.
        """
        self.watch().restore_retained(wanted, only=only, publishers=self._publishers())

    def _publishers(self) -> list[mqtt.Client]:
        """Return the clients of this process that publish, once what they queued is on its way."""
        publishers = self._connected_publishers()
        for client in publishers:
            self._publications.await_acknowledgements(client)
        return publishers

    def _connected_publishers(self) -> list[mqtt.Client]:
        with self._lock:
            clients = {*self._loans, *self._publications.clients}
        return [client for client in clients if self._may_have_published(client)]

    def _may_have_published(self, client: Any) -> bool:
        """Return whether a client is connected to our broker, and not kept in a callback."""
        if not paho.is_connected(client) or client in self._loans:
            return paho.is_connected(client)
        return not paho.is_in_callback(client) and self._shares_broker_with(client)

    def _shares_broker_with(self, client: Any) -> bool:
        if self._observer is None and not self._closed:
            self.watch()
        return self._observer is not None and self._observer.shares_broker_with(client)

    def close(self) -> None:
        """Release all clients and disconnect; does nothing twice."""
        self._closed = True
        self._life.close()

    def created(self, client: mqtt.Client) -> None:
        """Lend a new client inside of a ``with pool.lending()`` block."""
        with self._lock:
            if self._lending and client not in self._loans:  # reinitialise() makes it again
                self._lending[-1].clients.append(client)
                self._lend(client, any_address=self._lending[-1].any_address)

    def route(self, client: mqtt.Client, host: str, port: int) -> tuple[str, int]:
        """Connect a client on loan to our broker, unless it wants another one of the tests'."""
        loan = self._loans.get(client)
        elsewhere = (host, port) != (self.endpoint.host, self.endpoint.port)
        if loan is None or (elsewhere and means_a_test_broker(client, host, port)):
            return host, port
        if elsewhere and not loan.any_address and port not in DEFAULT_PORTS:
            return host, port
        admit(client, self.endpoint)
        return self.endpoint.host, self.endpoint.port

    def connecting(self, client: mqtt.Client, host: str, port: int) -> None:
        """Watch the broker before anybody publishes there, also after a restart."""
        with self._lock:
            if client not in self._loans:
                self._outsiders.add(client)
        if self._observer is not None and (host, port) == (self.endpoint.host, self.endpoint.port):
            with contextlib.suppress(MQTTConnectionError):  # as the client will see
                self._observer.await_connection()

    def answering(self, client: mqtt.Client) -> None:
        """Note what a client on loan leaves to the broker, and another broker that lets one in."""
        peer = paho.connack_code_of(client) == 0 and paho.peer_of(client)
        if peer and self._observer is not None and not self._observer.shares_broker_with(client):
            self.other_brokers.add(peer[:2])
        loan = self._loans.get(client)
        if loan is None:
            return
        if paho.leaves_a_session(client):
            loan.sessions.add(paho.session_of(client))
        will = paho.will_of(client)
        if will is not None:
            self.topics.add(will.topic)

    def answered(self, client: mqtt.Client) -> None:
        """Note that a client on loan is connected, or refused."""
        loan = self._loans.get(client)
        if loan is not None:
            loan.answered.set()
            for lending in tuple(self._lending):
                lending.answered()

    def published(
        self, client: mqtt.Client, topic: str, qos: int, info: mqtt.MQTTMessageInfo
    ) -> None:
        """Note the message, and that its topic is one of ours."""
        self._publications.note(client, topic, qos, info)

    def _lend(self, client: mqtt.Client, *, any_address: bool = True) -> None:
        with self._lock:
            self._loans.setdefault(client, Loan(any_address=any_address))
        vars(client)[SENDS_AT_ONCE] = True

    def _close_observer(self) -> None:
        with self._connecting:
            if self._observer is not None:
                self._observer.close()

    def _require_open(self) -> None:
        if self._closed:
            raise BrokerError("this pool is closed; make a new SharedMQTTPool")


def _wants_a_loop(client: Any, loan: Loan) -> bool:
    """Return whether no thread serves a client that has connected, or is about to."""
    if network_loop_of(client) is not None or client.on_socket_open is not None:
        return False  # the latter is for event loops, which watch the socket themselves
    return client.socket() is not None or (
        bool(paho.address_of(client)[0]) and not loan.answered.is_set()
    )
