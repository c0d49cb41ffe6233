"""The pool in every order of events: a state machine against a model, and what it must survive.

The machine plays tests, as the fixture ``clean_mqtt_broker`` frames them: loans come and go, with
equal client ids, sessions, wills and subscriptions; plain clients that the pool knows nothing of
publish beside them; sockets break, the broker restarts or dies. After each return of a loan the
world has to be as if it had never been there, and after each test the broker retains what it did
before. Plain clients and a raw socket are the witnesses: the pool is never asked about itself.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

import paho.mqtt.client as mqtt
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from mqtt_test_broker import TestMQTTBroker
from mqtt_testing.clients import listeners
from mqtt_testing.clients import pool as pool_module
from mqtt_testing.clients.paho_internals import new_client
from mqtt_testing.wire.packets import mqtt_length, mqtt_string
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from shared_mqtt_pool import SharedMQTTPool

TIMEOUT = 5.0
NOWHERE = ("192.0.2.1", 9)
TOPICS = ("t/0", "t/1", "t/deep/er")
FILTERS = ("#", "t/#", "t/+", "t/0", "t/deep/er")

topics = st.sampled_from(TOPICS)
qualities = st.integers(0, 2)
client_ids = st.sampled_from(["", "ann", "bob"])


def wait_until(condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"within {timeout} s it never came true that {what}"
        pause.wait(0.0005)


# --- Witnesses: a raw socket, and plain clients -------------------------------------------------


def packet(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + mqtt_length(len(body)) + body


def publish_packet(topic: str, payload: bytes, qos: int, retain: bool) -> bytes:
    mid = b"\x00\x01" if qos else b""
    return packet(0x30 | qos << 1 | retain, mqtt_string(topic) + mid + payload)


@contextlib.contextmanager
def raw_connection(
    broker: TestMQTTBroker, client_id: str, clean: bool = True
) -> Iterator[tuple[socket.socket, bool]]:
    """Connect past paho and the pool; say whether the broker had a session for us."""
    with socket.create_connection((broker.host, broker.port), TIMEOUT) as connection:
        flags = bytes([4, 0x02 if clean else 0x00]) + struct.pack("!H", 60)
        connection.sendall(packet(0x10, mqtt_string("MQTT") + flags + mqtt_string(client_id)))
        reply = connection.recv(4, socket.MSG_WAITALL)
        assert reply[:2] == b"\x20\x02", reply
        assert reply[3] == 0, reply
        yield connection, bool(reply[2])
        connection.sendall(b"\xe0\x00")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def has_session(broker: TestMQTTBroker, client_id: str) -> bool:
    """Say whether the broker keeps a session for *client_id*; it does not afterwards."""
    with raw_connection(broker, client_id, clean=False) as (_, present):
        pass
    with raw_connection(broker, client_id):
        return present


def connect_plain(client: Any, broker: TestMQTTBroker) -> None:
    """Connect a client that the pool knows nothing of; it subscribes to everything."""
    client.messages = []
    client.ready = threading.Event()
    client.on_connect = lambda c, *_: c.subscribe("#", 2)
    client.on_subscribe = lambda c, *_: c.ready.set()
    client.on_disconnect = lambda c, *_: c.ready.clear()
    client.on_message = lambda c, _, message: c.messages.append(message)
    client.reconnect_delay_set(min_delay=0.005, max_delay=0.02)
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert client.ready.wait(TIMEOUT)


def what_is_retained(broker: TestMQTTBroker) -> dict[str, tuple[bytes, int]]:
    """Ask the broker, as an independent client that subscribes to everything."""
    client: Any = new_client()
    connect_plain(client, broker)
    # Retained messages come before what is published later on the same connection.
    client.publish("end", "of what is retained", qos=2)
    wait_until(lambda: any(m.topic == "end" for m in client.messages), "the end came")
    client.disconnect()
    client.loop_stop()
    return {m.topic: (m.payload, m.qos) for m in client.messages if m.retain}


# --- The model ----------------------------------------------------------------------------------


@dataclass(eq=False)
class Loan:
    """A client on loan, and what is to be expected of it."""

    client: Any
    client_id: str
    persistent: bool
    will: tuple[str, bytes, int, bool] | None = None
    filters: set[str] = field(default_factory=set)
    connected: bool = True
    received: list[tuple[str, bytes]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)  # of any callback

    def watch(self) -> None:
        """Note every call of a callback."""
        for name in ("connect", "disconnect", "publish", "subscribe", "unsubscribe", "log"):
            setattr(self.client, f"on_{name}", lambda *_, name=name: self.calls.append(name))
        self.client.on_message = self.on_message

    def on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        """Note a message."""
        self.calls.append("message")
        self.received.append((message.topic, message.payload))

    def wants(self, topic: str) -> bool:
        """Say whether it is subscribed to *topic*."""
        return any(mqtt.topic_matches_sub(f, topic) for f in self.filters)


class PoolMachine(RuleBasedStateMachine):
    """Tests on one broker, one after the other, with everything that may happen in them."""

    loans = Bundle("loans")

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.broker = TestMQTTBroker()
        self.broker.start()
        self.outsiders = [new_client(client_id=f"outsider {n}") for n in range(2)]
        for outsider in self.outsiders:
            connect_plain(outsider, self.broker)
        self.pool = SharedMQTTPool(self.broker.get_connection_params())
        self.retained: dict[str, tuple[bytes, int]] = {}
        self.sessions: dict[str, set[str]] = {}  # the filters of persistent sessions, by client id
        self.on_loan: list[Loan] = []
        self.test = contextlib.ExitStack()
        self.retained_before: dict[str, tuple[bytes, int]] = {}

    def teardown(self) -> None:
        try:
            if self.broker.is_running():
                self.end_test()
        finally:
            self.test.close()
            self.pool.close()
            for outsider in self.outsiders:
                outsider.disconnect()
                outsider.loop_stop()
            self.broker.stop()

    # What surrounds a test, as the fixture clean_mqtt_broker does.

    @initialize(kept=st.dictionaries(topics, qualities))
    def retain_before_the_first_test(self, kept: dict[str, int]) -> None:
        for topic, qos in kept.items():
            self.publish_as(self.outsiders[0], topic, qos, retain=True, empty=False)
        self.begin_test()

    def begin_test(self) -> None:
        self.broker.start()  # as the fixture live_mqtt_broker does
        self.await_outsiders()
        self.pool.barrier()
        self.snapshot = self.pool.watch().know_retained()
        self.retained_before = dict(self.retained)
        self.test.enter_context(self.pool.lending())

    def end_test(self) -> None:
        returned, self.on_loan = self.on_loan, []
        self.test.close()
        assert self.pool.ref_count == 0
        if not self.broker.is_running():
            return
        self.pool.barrier()
        self.pool.watch().restore_retained(self.snapshot)
        self.retained = self.retained_before
        assert what_is_retained(self.broker) == self.retained
        for client_id in {loan.client_id for loan in returned} - {""}:
            assert not has_session(self.broker, client_id)
        self.sessions.clear()
        self.check_silence(returned)

    @rule()
    def another_test(self) -> None:
        self.end_test()
        self.begin_test()

    # Loans.

    def adopt(self, loan: Loan) -> None:
        """Bring the model up to date with the arrival of *loan*."""
        for other in self.on_loan:
            if other.connected and other.client_id == loan.client_id != "":
                self.note_the_take_over_of(other)
        inherited = self.sessions.pop(loan.client_id, set()) if loan.client_id else set()
        if loan.persistent:
            loan.filters = self.sessions[loan.client_id] = inherited
        self.on_loan.append(loan)

    def note_the_take_over_of(self, loan: Loan) -> None:
        """Wait until *loan* has noticed; whether its will is published is the broker's affair."""
        wait_until(lambda: loan.client.socket() is None, "the loan was taken over")
        loan.connected = False
        self.publish_as(self.outsiders[0], "settle", 2, retain=False, empty=False)
        if loan.will is not None:
            topic, payload, qos, retain = loan.will
            published = any(m.payload == payload for m in self.outsiders[0].messages)
            if retain and published:
                self.retained[topic] = (payload, qos)

    def expect_the_end_of(self, loan: Loan) -> None:
        """Wait until a loan knows that its connection is broken; its will is published."""
        wait_until(lambda: loan.client.socket() is None, "the connection ended")
        loan.connected = False
        if loan.will is not None:
            topic, payload, qos, retain = loan.will
            self.await_delivery(topic, payload)
            if retain:
                self.retained[topic] = (payload, qos)

    @precondition(lambda self: self.broker.is_running())
    @rule(target=loans, client_id=client_ids, protocol=st.sampled_from([4, 5]))
    def acquire(self, client_id: str, protocol: Any) -> Loan:
        client = self.pool.acquire(
            client_id=client_id, protocol=protocol, reconnect_on_failure=False
        )
        loan = Loan(client, client_id, persistent=False)
        loan.watch()
        self.adopt(loan)
        return loan

    @precondition(lambda self: self.broker.is_running())
    @rule(
        target=loans,
        client_id=client_ids,
        protocol=st.sampled_from([4, 5]),
        persistent=st.booleans(),
        will=st.none() | st.tuples(topics, qualities, st.booleans()),
    )
    def lend(
        self, client_id: str, protocol: Any, persistent: bool, will: tuple[str, int, bool] | None
    ) -> Loan:
        persistent = persistent and client_id != ""
        options: dict[str, Any] = {"client_id": client_id, "protocol": protocol}
        connect_options: dict[str, Any] = {}
        if protocol == mqtt.MQTTv5:
            connect_options["clean_start"] = not persistent
            if persistent:
                properties: Any = Properties(PacketTypes.CONNECT)
                properties.SessionExpiryInterval = 600
                connect_options["properties"] = properties
        else:
            options["clean_session"] = not persistent
        loan = Loan(new_client(reconnect_on_failure=False, **options), client_id, persistent)
        loan.watch()
        if will is not None:
            topic, qos, retain = will
            loan.will = (topic, b"will %d" % next(self.numbers), qos, retain)
            loan.client.will_set(*loan.will)
        answers: list[Any] = []
        loan.client.on_connect = lambda _c, _u, flags, *_: answers.append(flags)
        loan.client.connect(*NOWHERE, **connect_options)
        loan.client.loop_start()
        wait_until(lambda: answers, "the broker answered")
        [flags] = answers
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        assert bool(present) == (persistent and client_id in self.sessions)
        self.adopt(loan)
        return loan

    @precondition(lambda self: self.broker.is_running())
    @rule(loan=loans, topic_filter=st.sampled_from(FILTERS), qos=qualities, filtered=st.booleans())
    def subscribe(self, loan: Loan, topic_filter: str, qos: int, filtered: bool) -> None:
        if loan not in self.on_loan or not loan.connected:
            return
        count = loan.calls.count("subscribe")
        if filtered:
            loan.client.message_callback_add(topic_filter, loan.on_message)
        loan.client.subscribe(topic_filter, qos)
        wait_until(lambda: loan.calls.count("subscribe") > count, "the subscription was granted")
        loan.filters.add(topic_filter)
        for topic, (payload, _) in self.retained.items():
            if mqtt.topic_matches_sub(topic_filter, topic):
                wait_until(
                    lambda seen=(topic, payload): seen in loan.received, "what is retained came"
                )

    @precondition(lambda self: self.broker.is_running())
    @rule(loan=loans)
    def break_socket(self, loan: Loan) -> None:
        if loan in self.on_loan and loan.connected:
            loan.client.socket().shutdown(socket.SHUT_RDWR)
            self.expect_the_end_of(loan)

    @rule(loan=loans)
    def release(self, loan: Loan) -> None:
        if loan not in self.on_loan:
            return
        seen = len(self.outsiders[0].messages)
        disconnects = loan.calls.count("disconnect")
        self.pool.release(loan.client)
        assert loan.calls.count("disconnect") == disconnects, "its owner was told of the return"
        self.on_loan.remove(loan)
        assert loan.client not in self.pool.clients_on_loan()
        if not self.broker.is_running():
            return
        if loan.persistent and not self.is_in_use(loan.client_id):
            assert not has_session(self.broker, loan.client_id)
            self.sessions.pop(loan.client_id, None)
        self.check_silence([loan])
        published = [m.payload for m in self.outsiders[0].messages[seen:]]
        if loan.connected and loan.will is not None:
            assert loan.will[1] not in published, "its will was published"

    def is_in_use(self, client_id: str) -> bool:
        """Say whether a loan is connected by *client_id*."""
        return any(loan.connected and loan.client_id == client_id for loan in self.on_loan)

    def check_silence(self, returned: list[Loan]) -> None:
        """Publish to where *returned* were subscribed: none of their callbacks is called."""
        before = [list(loan.calls) for loan in returned]
        for topic in TOPICS:
            self.publish_as(self.outsiders[1], topic, 1, retain=False, empty=False)
        self.pool.barrier()
        assert [loan.calls for loan in returned] == before
        newcomer_saw: list[Any] = []
        newcomer = self.pool.acquire()
        newcomer.on_message = lambda *args: newcomer_saw.append(args[-1])
        self.pool.barrier()
        self.pool.release(newcomer)
        assert not newcomer_saw

    # Messages.

    def publish_as(self, client: Any, topic: str, qos: int, retain: bool, empty: bool) -> None:
        payload = b"" if empty else b"%d" % next(self.numbers)
        client.publish(topic, payload, qos, retain).wait_for_publish(TIMEOUT)
        if retain and empty:
            self.retained.pop(topic, None)
        elif retain:
            self.retained[topic] = (payload, qos)
        self.await_delivery(topic, payload)
        if empty:  # one empty message is like another: follow it by one that is not
            self.publish_as(client, "settle", qos, retain=False, empty=False)

    def await_delivery(self, topic: str, payload: bytes) -> None:
        """Wait until everybody who wants a message has it: outsiders, loans, the monitor."""
        receivers = [loan for loan in self.on_loan if loan.connected and loan.wants(topic)]
        for loan in receivers:
            wait_until(lambda loan=loan: (topic, payload) in loan.received, "a loan got it")
        for client in self.outsiders:
            wait_until(
                lambda client=client: any(
                    (m.topic, m.payload) == (topic, payload) for m in reversed(client.messages)
                ),
                "an outsider got it",
            )

    @precondition(lambda self: self.broker.is_running())
    @rule(loan=loans, topic=topics, qos=qualities, retain=st.booleans(), empty=st.booleans())
    def publish(self, loan: Loan, topic: str, qos: int, retain: bool, empty: bool) -> None:
        if loan in self.on_loan and loan.connected:
            self.publish_as(loan.client, topic, qos, retain, empty)

    @precondition(lambda self: self.broker.is_running())
    @rule(topic=topics, qos=qualities, retain=st.booleans(), empty=st.booleans())
    def publish_from_outside(self, topic: str, qos: int, retain: bool, empty: bool) -> None:
        self.publish_as(self.outsiders[0], topic, qos, retain, empty)

    # The broker.

    def await_outsiders(self) -> None:
        for outsider in self.outsiders:
            assert outsider.ready.wait(TIMEOUT)

    @precondition(lambda self: self.broker.is_running())
    @rule()
    def restart_the_broker(self) -> None:
        self.broker.stop()
        self.note_the_end_of_the_broker()
        self.broker.start()
        self.await_outsiders()

    @precondition(lambda self: self.broker.is_running())
    @rule()
    def kill_the_broker(self) -> None:
        self.broker.kill()
        self.note_the_end_of_the_broker()

    @precondition(lambda self: not self.broker.is_running())
    @rule()
    def start_the_broker(self) -> None:
        self.broker.start()
        self.await_outsiders()

    def note_the_end_of_the_broker(self) -> None:
        """Wait until all clients have noticed; nothing that the broker kept is left."""
        for loan in self.on_loan:
            wait_until(lambda loan=loan: loan.client.socket() is None, "a loan noticed")
            loan.connected = False
        for outsider in self.outsiders:
            wait_until(lambda client=outsider: not client.ready.is_set(), "an outsider noticed")
        self.retained = {}
        self.sessions.clear()

    # What holds at any time.

    @invariant()
    def everybody_is_where_expected(self) -> None:
        assert self.pool.ref_count == len(self.on_loan)
        for loan in self.on_loan:
            assert (loan.client.socket() is not None) == loan.connected
        for outsider in self.outsiders:
            assert outsider.ready.is_set() == self.broker.is_running()

    @precondition(lambda self: self.broker.is_running())
    @invariant()
    def the_pool_knows_what_is_retained(self) -> None:
        self.pool.barrier()
        known = {m.topic: (m.payload, m.qos) for m in self.pool.watch().know_retained().values()}
        assert known == self.retained


TestPoolMachine = pytest.mark.slow(PoolMachine.TestCase)
TestPoolMachine.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # with waits for a real broker, shrinking takes minutes
)


# --- What the machine has taught, each by itself ------------------------------------------------


@pytest.fixture
def broker() -> Iterator[TestMQTTBroker]:
    with TestMQTTBroker() as broker:
        yield broker


@pytest.fixture
def pool(broker: TestMQTTBroker) -> Iterator[SharedMQTTPool]:
    with SharedMQTTPool(broker.get_connection_params()) as pool:
        yield pool


def test_a_loan_whose_socket_was_closed_can_be_released(pool: SharedMQTTPool) -> None:
    client: Any = pool.acquire()
    client.loop_stop()
    client.socket().close()
    pool.release(client)
    assert client._thread is None


def test_a_persistent_loan_can_be_released_after_the_death_of_its_broker(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    client = pool.acquire(client_id="ann", clean_session=False)
    broker.kill()
    pool.release(client)


def test_a_release_leaves_the_loan_alone_that_took_the_session_over(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    first, second = (
        pool.acquire(client_id="ann", clean_session=False, reconnect_on_failure=False)
        for _ in range(2)
    )
    wait_until(lambda: first.socket() is None, "the first was taken over")
    pool.release(first)
    second.publish("t/0", qos=1).wait_for_publish(TIMEOUT)
    assert second.is_connected()
    pool.release(second)
    assert not has_session(broker, "ann")


@pytest.mark.parametrize("ending", ["broken", "taken over"])
def test_a_barrier_does_not_wait_for_a_loan_that_is_cut_off(
    pool: SharedMQTTPool, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 1.0)
    client: Any = pool.acquire(client_id="ann")
    client.loop_stop()  # so that it does not notice
    if ending == "broken":
        client.socket().shutdown(socket.SHUT_RDWR)
    else:
        pool.acquire(client_id="ann")
    assert client.is_connected()
    pool.barrier()


def test_a_barrier_passes_through_a_loan_with_a_loop_of_its_own(
    pool: SharedMQTTPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 1.0)
    client: Any = pool.acquire()
    client.loop_stop()
    client.on_socket_register_write = lambda *_: None  # that loop waits for us
    try:
        pool.barrier()
    finally:
        client.on_socket_register_write = None


def test_the_observer_is_never_on_loan(pool: SharedMQTTPool) -> None:
    with pool.lending():
        pool.barrier()
        assert pool.ref_count == 0
    assert pool.watch().is_connected()


def test_the_last_retained_message_counts_whatever_its_qos(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    pool.barrier()
    with raw_connection(broker, "raw") as (connection, _):
        connection.sendall(publish_packet("t/0", b"", qos=2, retain=True))
        assert connection.recv(4, socket.MSG_WAITALL)[:1] == b"\x50"
        release = packet(0x62, b"\x00\x01")
        connection.sendall(release + publish_packet("t/0", b"kept", qos=0, retain=True))
        assert connection.recv(4, socket.MSG_WAITALL)[:1] == b"\x70"
    pool.barrier()
    assert what_is_retained(broker) == {"t/0": (b"kept", 0)}
    pool.watch().restore_retained({})
    assert what_is_retained(broker) == {}


def test_the_shared_connection_can_be_ended_while_messages_arrive(pool: SharedMQTTPool) -> None:
    shared: Any = pool.watch()._client
    on_message, shared.on_message = shared.on_message, None  # as ending it begins
    pool.acquire().publish("t/0", b"", 2).wait_for_publish(TIMEOUT)
    shared.on_message = on_message
    pool.barrier()


def test_a_retained_message_of_qos_2_is_restored_before_the_next_test_begins(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    client = pool.acquire()
    client.publish("t/0", b"before", 2, retain=True)
    pool.barrier()
    before = pool.watch().know_retained()
    client.publish("t/0", b"after", 2, retain=True)
    pool.barrier()
    shared: Any = pool.watch()._client
    send_pubrel = shared._send_pubrel

    def send_late(mid: int) -> Any:
        threading.Timer(0.1, send_pubrel, (mid,)).start()
        return mqtt.MQTT_ERR_SUCCESS

    shared._send_pubrel = send_late
    pool.restore_retained(before)
    assert what_is_retained(broker) == {"t/0": (b"before", 2)}


@pytest.mark.skipif(not hasattr(mqtt, "CallbackAPIVersion"), reason="paho 1 keeps its thread")
def test_a_loop_that_is_stopped_promptly_was_stopped(
    pool: SharedMQTTPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = pool.acquire()
    stop = listeners.stop_network_loop

    def stop_and_lose_the_race(client: Any, thread: threading.Thread) -> None:
        stop(client, thread)
        thread.join()

    monkeypatch.setattr(listeners, "stop_network_loop", stop_and_lose_the_race)
    assert client.loop_stop() == mqtt.MQTT_ERR_SUCCESS


@pytest.mark.skipif(not hasattr(mqtt, "CallbackAPIVersion"), reason="needs paho-mqtt 2")
def test_a_loan_is_redirected_that_sets_host_and_port(pool: SharedMQTTPool) -> None:
    with pool.lending():
        client: Any = new_client()
        client.host, client.port = "127.0.0.1", 9
        assert client.reconnect() == mqtt.MQTT_ERR_SUCCESS


def test_all_are_released_though_one_is_blocked(
    pool: SharedMQTTPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = pool_module.end_client
    clients: list[Any] = []

    def fail_for_the_first(client: Any) -> None:
        end(client)
        if client is clients[0]:
            raise TimeoutError("a callback blocks")

    monkeypatch.setattr(pool_module, "end_client", fail_for_the_first)
    with pytest.raises(TimeoutError), pool.lending():
        clients += [pool.acquire() for _ in range(2)]
    assert pool.ref_count == 0


def test_a_callback_releases_its_own_client(pool: SharedMQTTPool) -> None:
    client: Any = pool.acquire()
    outcome: list[Any] = []

    def on_message(*_args: Any) -> None:
        try:
            pool.release(client)
        except TimeoutError as error:
            outcome.append(error)
        else:
            outcome.append("released")

    client.on_message = on_message
    client.subscribe("t/0")
    client.publish("t/0")
    wait_until(lambda: outcome, "the callback returned", 2 * TIMEOUT)
    assert outcome == ["released"]
