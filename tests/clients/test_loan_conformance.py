"""A client on loan behaves as a plain paho client does: every behaviour, twice, compared.

A *behaviour* drives clients that it is given the means to make, and a recorder notes what their
callbacks saw and what their methods returned. Each runs against an empty broker with plain
clients, that connect to it directly, and against another one with clients on loan, that are told
to connect to an address where nobody lives. The two recordings have to be equal, in every
combination of protocol and callback API that the installed paho speaks.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import itertools
import logging
import select
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable
from unittest import mock

import paho.mqtt.client as mqtt
import pytest
from mqtt_test_broker import TestMQTTBroker
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from shared_mqtt_pool import SharedMQTTPool

TIMEOUT = 10.0
NOWHERE = ("192.0.2.1", 9)  # reserved for documentation: no packet to it is ever answered

PAHO_2 = hasattr(mqtt, "CallbackAPIVersion")
SAME_FOR_EVERY_CONNECTION = (
    "on_connect",
    "on_disconnect",
    "on_message",
    "on_publish",
    "on_subscribe",
    "on_unsubscribe",
)

FENCE = "fence/"
_fence_numbers = itertools.count()

MakeClient = Callable[..., Any]
Behaviour = Callable[[MakeClient, "Recorder", "Broker"], None]


# --- The means ----------------------------------------------------------------------------------


class Recorder:
    """Notes what each client saw, in order, in values that can be compared.

    Usage: ``recorder.watch(client)``, then ``recorder.wait_for(client, "on_connect")``.

    A client whose network loop runs in a thread has several streams of events: which of two
    threads is first is no behaviour, nor is whether a message is sent before another is received.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._names: dict[int, str] = {}
        self._clients: list[Any] = []  # keeps them alive: an id is theirs only as long
        self._counts: Counter[tuple[str, str]] = Counter()
        self._thread = threading.current_thread()
        self.recording: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def watch(self, client: Any, *callbacks: str) -> Any:
        """Record *callbacks* of *client*, by default those of connections and messages."""
        self._name_of(client)
        for name in callbacks or SAME_FOR_EVERY_CONNECTION:
            setattr(client, name, self.callback(name))
        return client

    def callback(self, name: str, then: Callable[..., Any] | None = None) -> Callable[..., None]:
        """Return a callback that records under *name* and then calls *then*."""

        def record(client: Any, *args: Any) -> None:
            self.note(client, name, *args)
            if then is not None:
                then(client, *args)

        return record

    def note(self, client: Any, name: str, *details: Any) -> None:
        """Record something that was not seen by a callback."""
        with self._changed:
            event = (name, *(self._comparable(detail) for detail in details))
            self.recording[self._stream_of(client, name)].append(event)
            self._counts[self._name_of(client), name] += 1
            self._changed.notify_all()

    def wait_for(self, client: Any, name: str, count: int = 1) -> None:
        """Wait until *name* was recorded *count* times for *client*."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.count(client, name) >= count, TIMEOUT):
                recorded = "\n".join(self.lines())
                raise TimeoutError(f"{count} times {name} did not come; recorded:\n{recorded}")

    def count(self, client: Any, name: str) -> int:
        """Return how often *name* was recorded for *client*."""
        return self._counts[self._name_of(client), name]

    def lines(self) -> list[str]:
        """Return the recording as text: stream by stream, an event a line."""
        with self._changed:
            return [f"{name}: {e}" for name in sorted(self.recording) for e in self.recording[name]]

    def attempt(self, client: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of *client* and record what it returns or raises."""
        try:
            result = getattr(client, name)(*args, **kwargs)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            self.note(client, name, type(error).__name__, getattr(error, "errno", None))
            return None
        self.note(client, name, result)
        return result

    def _name_of(self, client: Any) -> str:
        if id(client) not in self._names:
            self._names[id(client)] = f"client {len(self._clients)}"
            self._clients.append(client)
        return self._names[id(client)]

    def _stream_of(self, client: Any, event: str) -> str:
        if threading.current_thread() is self._thread:
            return self._name_of(client)
        return f"{self._name_of(client)}, {'sending' if event == 'on_publish' else 'thread'}"

    def _comparable(self, value: Any) -> Any:
        if isinstance(value, mqtt.Client):
            return self._name_of(value)
        if isinstance(value, mqtt.MQTTMessage):
            fields = ("topic", "payload", "qos", "retain", "dup", "mid", "properties")
            return {name: self._comparable(getattr(value, name, None)) for name in fields}
        if isinstance(value, mqtt.MQTTMessageInfo):
            return {"rc": value.rc, "mid": value.mid}
        if isinstance(value, Properties):
            properties = value.json()
            if "AssignedClientIdentifier" in properties:
                properties["AssignedClientIdentifier"] = "one that the broker made up"
            return properties
        if type(value).__name__ in ("ReasonCode", "ReasonCodes"):
            return str(value)
        if isinstance(value, socket.socket):
            return "a socket"
        if isinstance(value, (bytes, bytearray)):
            return bytes(value) if len(value) < 100 else (len(value), _digest(value))
        if isinstance(value, (list, tuple)):
            return [self._comparable(item) for item in value]
        return value


def _digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Broker:
    """The broker as a behaviour sees it: the address that it gives to clients, and the process."""

    address: tuple[str, int]
    process: TestMQTTBroker


@dataclass(frozen=True)
class Dialect:
    """One way to speak MQTT with paho."""

    protocol: Any
    api: int

    def __str__(self) -> str:
        return f"mqtt{self.protocol}-api{self.api}"

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor of a client needs."""
        options: dict[str, Any] = {"protocol": self.protocol}
        if PAHO_2:
            options["callback_api_version"] = mqtt.CallbackAPIVersion(self.api)
        return options


MQTT_3 = (mqtt.MQTTv311,)
MQTT_5 = (mqtt.MQTTv5,)
APIS = (1, 2) if PAHO_2 else (1,)


@dataclass
class Case:
    """A behaviour, and where it applies."""

    run: Behaviour
    connected: bool
    protocols: tuple[Any, ...]
    apis: tuple[int, ...]
    marks: list[Any] = field(default_factory=list)


CASES: list[Case] = []


def behaviour(
    *,
    connected: bool = False,
    protocols: tuple[Any, ...] = MQTT_3 + MQTT_5,
    apis: tuple[int, ...] = APIS,
    needs: bool = True,
) -> Callable[[Behaviour], Behaviour]:
    """Collect a behaviour.

    Args:
        connected: the clients come connected, with their network loop running; then those of
            ``pool.acquire()`` take part as well.
        protocols: the versions of MQTT that it exists in.
        apis: the versions of paho's callbacks that it exists in.
        needs: whether the installed paho has what it needs.
    """

    def collect(run: Behaviour) -> Behaviour:
        marks: list[Any] = []
        if not needs:
            marks.append(pytest.mark.skip(reason="needs a newer paho-mqtt"))
        CASES.append(Case(run, connected, protocols, apis, marks))
        return run

    return collect


def start_loop_again(client: Any) -> None:
    """Start the network loop, again or for the first time."""
    for end in (client._sockpairR, client._sockpairW):
        if end is not None:
            end.close()  # paho itself does not, and the next loop gets a new pair
    client.loop_start()


def bring_online(client: Any, address: tuple[str, int], **options: Any) -> Any:
    """Connect *client* and start its network loop; return once the broker has accepted it."""
    answered = threading.Event()
    theirs = client.on_connect

    def on_connect(*args: Any) -> None:
        if theirs is not None:
            theirs(*args)
        answered.set()

    client.on_connect = on_connect
    client.connect(*address, **options)
    start_loop_again(client)
    assert answered.wait(TIMEOUT)
    assert client.is_connected()
    client.on_connect = theirs
    return client


# --- The ways to get a client -------------------------------------------------------------------

Source = Callable[[TestMQTTBroker, bool], "contextlib.AbstractContextManager[Any]"]


@contextlib.contextmanager
def plain(broker: TestMQTTBroker, connected: bool) -> Iterator[tuple[MakeClient, tuple[str, int]]]:
    """Make clients as everybody does, that connect to the broker's own address."""
    address = (broker.host, broker.port)
    clients = []

    def make(**options: Any) -> Any:
        clients.append(mqtt.Client(**options))
        return bring_online(clients[-1], address) if connected else clients[-1]

    # The pool's observer subscribes to everything: with MQTT 5, publishers are told that.
    observer = make_observer(*address)
    yield make, address
    for client in (*clients, observer):
        client.suppress_exceptions = True
        with contextlib.suppress(OSError):  # paho 1 does not expect that its socket is closed
            client.disconnect()
        client.loop_stop()


def make_observer(host: str, port: int) -> Any:
    """Make a client that subscribes to everything, as the pool's observer does."""
    subscribed = threading.Event()
    observer: Any = mqtt.Client(**Dialect(mqtt.MQTTv311, 1 + PAHO_2).options)
    observer.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    observer.on_connect = lambda client, *_: client.subscribe("#")
    observer.on_subscribe = lambda *_: subscribed.set()
    observer.connect(host, port)
    observer.loop_start()
    assert subscribed.wait(TIMEOUT)
    return observer


@contextlib.contextmanager
def lent(broker: TestMQTTBroker, connected: bool) -> Iterator[tuple[MakeClient, tuple[str, int]]]:
    """Make clients as everybody does, while the pool lends, that connect to nowhere."""

    def make(**options: Any) -> Any:
        client = mqtt.Client(**options)
        return bring_online(client, NOWHERE) if connected else client

    with watched_pool(broker) as pool, pool.lending():
        yield make, NOWHERE


@contextlib.contextmanager
def acquired(
    broker: TestMQTTBroker, connected: bool
) -> Iterator[tuple[MakeClient, tuple[str, int]]]:
    """Take clients from the pool, that are connected already."""
    assert connected
    with watched_pool(broker) as pool:
        yield pool.acquire, NOWHERE
        for client in pool.clients_on_loan():
            pool.release(client)


@contextlib.contextmanager
def watched_pool(broker: TestMQTTBroker) -> Iterator[SharedMQTTPool]:
    """Have a pool at work as during a test: its observer sees all from the start to the end."""
    with SharedMQTTPool(broker.get_connection_params()) as pool:
        pool.barrier()
        yield pool
        assert pool.ref_count == 0
        pool.barrier()


def record(case: Case, dialect: Dialect, source: Source) -> list[str]:
    """Run a behaviour on an empty broker and return what its clients saw."""
    recorder = Recorder()
    with TestMQTTBroker() as process, source(process, case.connected) as (make, address):
        make_client = functools.partial(make, **dialect.options)
        case.run(make_client, recorder, Broker(address, process))
        return recorder.lines()


def name_of_behaviour(case: Case) -> str:
    return getattr(case.run, "__name__", "behaviour")


@functools.cache
def record_plain(index: int, dialect: Dialect) -> list[str]:
    """Run a behaviour with plain clients, once for all kinds of loan."""
    return record(CASES[index], dialect, plain)


# --- Steps that behaviours share ----------------------------------------------------------------


def subscribe(recorder: Recorder, client: Any, *filters: str, qos: int = 2) -> None:
    """Subscribe and wait until the broker has granted it; to the fence as well."""
    granted = recorder.count(client, "on_subscribe") + 1
    client.message_callback_add(FENCE + "#", lambda *_: None)
    client.subscribe([*((topic, qos) for topic in filters), (FENCE + "#", 2)])
    recorder.wait_for(client, "on_subscribe", granted)


def fence(client: Any, publisher: Any = None, qos: int = 2) -> None:
    """Wait for a message to oneself: all that was on its way before has arrived.

    The QoS is that of the messages before it: one with a shorter handshake would overtake them.
    """
    topic = f"{FENCE}{next(_fence_numbers)}"
    passed = threading.Event()
    client.message_callback_add(topic, lambda *_: passed.set())
    (publisher or client).publish(topic, "", qos).wait_for_publish(TIMEOUT)
    assert passed.wait(TIMEOUT)


def settle(client: Any) -> None:
    """Wait until the broker has noticed what reached it before, such as a DISCONNECT of others."""
    client.publish("settle", qos=1).wait_for_publish(TIMEOUT)


def drive(client: Any, condition: Callable[[], bool]) -> None:
    """Run the network loop by hand until *condition* holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "the network loop by hand got nowhere"
        client.loop(timeout=0.02)


def drive_until(recorder: Recorder, client: Any, name: str, count: int = 1) -> None:
    """Run the network loop by hand until *name* was recorded *count* times."""
    drive(client, lambda: recorder.count(client, name) >= count)


def break_connection(client: Any) -> None:
    """Break the connection without a DISCONNECT."""
    client.socket().shutdown(socket.SHUT_RDWR)


def properties_of(packet: int, **values: Any) -> Properties:
    properties = Properties(packet)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


# --- Behaviours: connecting and disconnecting ---------------------------------------------------


@behaviour()
def connect_and_disconnect(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.note(client, "is_connected", client.is_connected())
    recorder.attempt(client, "connect", *broker.address)
    recorder.attempt(client, "loop_start")
    recorder.wait_for(client, "on_connect")
    recorder.note(client, "is_connected", client.is_connected())
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    recorder.note(client, "is_connected", client.is_connected())
    recorder.attempt(client, "disconnect")
    recorder.attempt(client, "publish", "topic", "too late")
    recorder.attempt(client, "subscribe", "topic")
    recorder.attempt(client, "unsubscribe", "topic")


@behaviour()
def connect_with_keywords(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    host, port = broker.address
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_log")
    client.connect(port=port, host=host, keepalive=17, bind_address="127.0.0.1", bind_port=0)
    drive_until(recorder, client, "on_connect")


@behaviour()
def connect_asynchronously(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.attempt(client, "connect_async", *broker.address, keepalive=5)
    recorder.attempt(client, "loop_start")
    recorder.wait_for(client, "on_connect")


@behaviour()
def connect_with_an_assigned_id(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client())
    bring_online(client, broker.address)
    subscribe(recorder, client)
    fence(client, qos=0)


@behaviour()
def reconnect_by_hand(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.attempt(client, "reconnect")
    bring_online(client, broker.address)
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    recorder.attempt(client, "reconnect")
    start_loop_again(client)
    recorder.wait_for(client, "on_connect", 2)


@behaviour()
def connect_twice(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_message")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect", 2)
    client.subscribe("topic")
    client.publish("topic", "still here")
    drive_until(recorder, client, "on_message")


@behaviour(connected=True)
def reconnect_after_a_broken_connection(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_disconnect")
    client.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    break_connection(client)
    recorder.wait_for(client, "on_connect")
    recorder.watch(client)
    subscribe(recorder, client, "topic")
    client.publish("topic", "back again", qos=1)
    recorder.wait_for(client, "on_message")
    recorder.wait_for(client, "on_publish")


@behaviour(connected=True)
def reconnect_after_a_restart_of_the_broker(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_disconnect")
    client.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    broker.process.restart()
    recorder.wait_for(client, "on_connect")


@behaviour()
def find_no_broker(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    first_failure = threading.Event()
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_disconnect")
    broker.process.stop()
    recorder.attempt(client, "connect", *broker.address)

    def on_connect_fail(client: Any, *args: Any) -> None:
        if not first_failure.is_set():
            recorder.note(client, "on_connect_fail", *args)
        first_failure.set()

    client.on_connect_fail = on_connect_fail
    client.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    client.connect_async(*broker.address)
    client.loop_start()
    assert first_failure.wait(TIMEOUT)
    broker.process.start()
    recorder.wait_for(client, "on_connect")


@behaviour()
def do_not_reconnect_on_failure(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one", reconnect_on_failure=False))
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    break_connection(client)
    recorder.attempt(client, "loop_forever")
    recorder.note(client, "is_connected", client.is_connected())


@behaviour()
def refuse_an_invalid_address(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one")
    recorder.attempt(client, "connect", "", 1883)
    recorder.attempt(client, "connect", broker.address[0], 0)
    recorder.attempt(client, "connect_async", broker.address[0], -1)


@behaviour()
def refuse_invalid_options(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one")
    recorder.attempt(client, "connect", *broker.address, keepalive=-1)
    recorder.attempt(client, "will_set", "", "payload")
    recorder.attempt(client, "will_set", "topic", "payload", qos=3)
    recorder.attempt(client, "will_set", "topic", {"no": "payload"})
    recorder.attempt(client, "max_inflight_messages_set", -1)
    recorder.attempt(client, "loop_stop")


@behaviour(protocols=MQTT_3)
def refuse_what_is_of_mqtt_5(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one")
    recorder.attempt(client, "connect", *broker.address, clean_start=True)
    properties = properties_of(PacketTypes.CONNECT, SessionExpiryInterval=9)
    recorder.attempt(client, "connect", *broker.address, properties=properties)


@behaviour(protocols=MQTT_3)
def end_by_a_take_over(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    first = recorder.watch(make_client(client_id="same", reconnect_on_failure=False))
    second = recorder.watch(make_client(client_id="same"))
    bring_online(first, broker.address)
    bring_online(second, broker.address)
    recorder.wait_for(first, "on_disconnect")
    subscribe(recorder, second)
    fence(second, qos=0)


@behaviour(protocols=MQTT_5)
def end_by_a_take_over_with_its_reason(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    end_by_a_take_over(make_client, recorder, broker)


@behaviour(connected=True)
def take_over_a_loan_that_is_left_alone(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    first = recorder.watch(make_client(client_id="same", reconnect_on_failure=False))
    second = recorder.watch(make_client(client_id="same"))
    recorder.wait_for(first, "on_disconnect")
    subscribe(recorder, second)
    fence(second, qos=0)


@behaviour(connected=True, protocols=MQTT_5)
def disconnect_with_a_reason_and_properties(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    reasons = __import__("paho.mqtt.reasoncodes", fromlist=["ReasonCode"])
    reason_class = getattr(reasons, "ReasonCode", None) or reasons.ReasonCodes
    reason = reason_class(PacketTypes.DISCONNECT, "Disconnect with will message")
    properties = properties_of(PacketTypes.DISCONNECT, UserProperty=("why", "done"))
    client.disconnect(reasoncode=reason, properties=properties)
    recorder.wait_for(client, "on_disconnect")


# --- Behaviours: the network loop ---------------------------------------------------------------


@behaviour()
def loop_by_hand(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.subscribe("topic", 1)
    drive_until(recorder, client, "on_subscribe")
    client.publish("topic", "by hand", qos=1)
    drive_until(recorder, client, "on_message")
    drive_until(recorder, client, "on_publish")
    client.disconnect()
    recorder.attempt(client, "loop", 0.01)


@behaviour()
def loop_with_a_selector(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    callbacks = [*SAME_FOR_EVERY_CONNECTION, "on_socket_open", "on_socket_close"]
    callbacks += ["on_socket_register_write", "on_socket_unregister_write"]
    client = recorder.watch(make_client(client_id="one"), *callbacks)

    def loop_until(name: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not recorder.count(client, name):
            assert time.monotonic() < deadline
            while client.want_write():
                client.loop_write()
            if select.select([client.socket()], [], [], 0.02)[0]:
                client.loop_read()
            assert client.loop_misc() == mqtt.MQTT_ERR_SUCCESS

    client.connect(*broker.address)
    loop_until("on_connect")
    client.subscribe("topic", 2)
    loop_until("on_subscribe")
    client.publish("topic", "by a selector", qos=2)
    loop_until("on_message")
    loop_until("on_publish")
    client.disconnect()
    while client.want_write():
        client.loop_write()


@behaviour(
    protocols=MQTT_3,
    apis=APIS[-1:],
)
def leave_a_selector_with_the_connection_open(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_socket_register_write")
    client.connect(*broker.address)
    client.loop_write()
    drive_until(recorder, client, "on_connect")


@behaviour()
def loop_forever(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.on_connect = recorder.callback("on_connect", lambda c, *_: c.subscribe("topic"))
    client.on_subscribe = recorder.callback("on_subscribe", lambda c, *_: c.publish("topic", 1))
    client.on_message = recorder.callback("on_message", lambda c, *_: c.disconnect())
    client.connect(*broker.address)
    thread = threading.Thread(target=recorder.attempt, args=(client, "loop_forever"))
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


@behaviour(connected=True)
def start_the_loop_twice(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.attempt(client, "loop_start")
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    recorder.attempt(client, "loop_stop")


@behaviour(connected=True, apis=APIS[-1:])
def stop_the_loop_before_disconnecting(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.loop_stop()
    recorder.attempt(client, "disconnect")
    recorder.wait_for(client, "on_disconnect")


@behaviour()
def report_the_socket(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(
        make_client(client_id="one"),
        "on_socket_open",
        "on_socket_close",
        "on_socket_register_write",
        "on_socket_unregister_write",
        "on_connect",
    )
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    recorder.note(client, "socket", client.socket())
    recorder.note(client, "want_write", client.want_write())
    client.publish("topic", "payload")
    recorder.note(client, "want_write", client.want_write())
    drive(client, lambda: not client.want_write())
    client.disconnect()
    drive(client, lambda: client.socket() is None)


# --- Behaviours: publishing ---------------------------------------------------------------------

PAYLOADS = [None, "", b"", "text \N{SNOWMAN}", b"\x00\xff", bytearray(b"array"), 17, -2.5]
LARGE = b"large" * 60_000


def publish_each(qos: int) -> Behaviour:
    def publish(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
        client = recorder.watch(make_client(client_id="one"))
        subscriber = recorder.watch(make_client(client_id="two"))
        subscribe(recorder, subscriber, "payloads/#")
        for number, payload in enumerate([*PAYLOADS, LARGE]):
            info = client.publish(f"payloads/{number}", payload, qos)
            recorder.note(client, "info", info)
            info.wait_for_publish(TIMEOUT)
            recorder.note(client, "is_published", info.is_published(), list(info))
            recorder.wait_for(subscriber, "on_message", number + 1)
        recorder.wait_for(client, "on_publish", len(PAYLOADS) + 1)

    publish.__name__ = f"publish_every_payload_at_qos_{qos}"
    return publish


for _qos in (0, 1, 2):
    behaviour(connected=True)(publish_each(_qos))


@behaviour(connected=True)
def publish_to_oneself(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "topic/#")
    for qos in (0, 1, 2):
        client.publish(f"topic/{qos}", "payload", qos).wait_for_publish(TIMEOUT)
        recorder.wait_for(client, "on_message", qos + 1)
        recorder.wait_for(client, "on_publish", qos + 1)


@behaviour()
def publish_what_is_refused(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    for args in [("a/+",), ("a/#",), ("a", {}), ("a", "", 3), ("a", "", -1)]:
        recorder.attempt(client, "publish", *args)
    recorder.attempt(client, "publish", "a", b"x" * 268435456)
    for filters in ["", None, [], ("a", 3), [("a", 3)], 7]:
        recorder.attempt(client, "subscribe", filters)
    for filters in ["", None, 7]:
        recorder.attempt(client, "unsubscribe", filters)
    recorder.attempt(client, "message_callback_add", "a", None)
    recorder.attempt(client, "message_callback_remove", "a")


@behaviour()
def publish_before_connecting(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscriber = recorder.watch(make_client(client_id="two"))
    bring_online(subscriber, broker.address)
    subscribe(recorder, subscriber, "queued/#")
    infos = [client.publish(f"queued/{qos}", "early", qos) for qos in (0, 1, 2)]
    for info in infos:
        recorder.note(client, "info", info)
        try:
            recorder.note(client, "is_published", info.is_published())
        except RuntimeError as error:
            recorder.note(client, "is_published", str(error))
    bring_online(client, broker.address)
    recorder.wait_for(client, "on_publish", 2)
    fence(subscriber, client)


@behaviour()
def publish_more_than_may_be_in_flight(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.max_inflight_messages_set(2)
    subscriber = recorder.watch(make_client(client_id="two"))
    bring_online(client, broker.address)
    bring_online(subscriber, broker.address)
    subscribe(recorder, subscriber, "many")
    infos = [client.publish("many", number, qos=1) for number in range(20)]
    for info in infos:
        info.wait_for_publish(TIMEOUT)
    recorder.wait_for(client, "on_publish", 20)
    recorder.wait_for(subscriber, "on_message", 20)


@behaviour()
def queue_no_more_than_allowed(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.max_queued_messages_set(2)
    for number in range(4):
        info = client.publish("queue", number, qos=1)
        recorder.note(client, "rc", info.rc)
    bring_online(client, broker.address)
    recorder.wait_for(client, "on_publish", 2)


@behaviour(connected=True, protocols=MQTT_5)
def publish_with_properties(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "properties/#")
    properties = properties_of(
        PacketTypes.PUBLISH,
        UserProperty=[("key", "one"), ("key", "two")],
        ContentType="text/plain",
        ResponseTopic="properties/answer",
        CorrelationData=b"\x01\x02",
        MessageExpiryInterval=600,
        PayloadFormatIndicator=1,
    )
    for qos in (0, 1, 2):
        client.publish(f"properties/{qos}", "payload", qos, properties=properties)
        recorder.wait_for(client, "on_message", qos + 1)
        recorder.wait_for(client, "on_publish", qos + 1)


@behaviour(connected=True, protocols=MQTT_5)
def publish_by_an_alias_of_the_topic(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "a/long/topic")
    alias = properties_of(PacketTypes.PUBLISH, TopicAlias=1)
    client.publish("a/long/topic", "first", properties=alias)
    recorder.wait_for(client, "on_message")
    client.publish("", "second", properties=alias)
    recorder.wait_for(client, "on_message", 2)


# --- Behaviours: subscribing --------------------------------------------------------------------


@behaviour(connected=True)
def subscribe_in_every_form(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    forms: list[tuple[Any, ...]] = [("a",), ("b", 1), (("c", 2),), ([("d", 0), ("e/#", 1)],)]
    if client._protocol == mqtt.MQTTv5:
        forms[2:] = [(("c", SubscribeOptions(2)),), ([(t, SubscribeOptions(1)) for t in "de"],)]
    for count, form in enumerate(forms, 1):
        recorder.attempt(client, "subscribe", *form)
        recorder.wait_for(client, "on_subscribe", count)
    for count, topic in enumerate("abcde", 1):
        client.publish(topic, "payload", qos=2).wait_for_publish(TIMEOUT)
        recorder.wait_for(client, "on_message", count)
        recorder.wait_for(client, "on_publish", count)
    recorder.attempt(client, "unsubscribe", "a")
    recorder.wait_for(client, "on_unsubscribe", 1)
    recorder.attempt(client, "unsubscribe", ["b", "c", "never subscribed"])
    recorder.wait_for(client, "on_unsubscribe", 2)
    subscribe(recorder, client)
    for topic in "abcde":
        client.publish(topic, "again", qos=0)
    fence(client, qos=0)


@behaviour(connected=True, protocols=MQTT_5)
def subscribe_with_options(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    other = recorder.watch(make_client(client_id="two"))
    other.publish("retained", "kept", qos=1, retain=True).wait_for_publish(TIMEOUT)
    subscribe(recorder, client)
    options = [
        ("local", SubscribeOptions(qos=2, noLocal=True)),
        ("published", SubscribeOptions(qos=1, retainAsPublished=True)),
        ("plain", SubscribeOptions(qos=1)),
    ]
    client.subscribe(options)
    recorder.wait_for(client, "on_subscribe", 2)
    for publisher in (client, other):
        for topic in ("local", "published", "plain"):
            publisher.publish(topic, "", qos=1, retain=True).wait_for_publish(TIMEOUT)
        fence(client, publisher)
    for handling in (
        SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE,
        SubscribeOptions.RETAIN_SEND_IF_NEW_SUB,
        SubscribeOptions.RETAIN_DO_NOT_SEND,
    ):
        for _ in range(2):
            client.subscribe("retained", options=SubscribeOptions(qos=1, retainHandling=handling))
            fence(client, qos=1)
        client.unsubscribe("retained")
        fence(client, qos=1)


@behaviour(connected=True, protocols=MQTT_5)
def subscribe_with_an_identifier(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    for number, topic in enumerate(["id/#", "id/+"], 1):
        properties = properties_of(
            PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number, UserProperty=("a", "b")
        )
        client.subscribe(topic, properties=properties)
        recorder.wait_for(client, "on_subscribe", number)
    subscribe(recorder, client)
    client.publish("id/x", "payload")
    fence(client, qos=0)
    properties = properties_of(PacketTypes.UNSUBSCRIBE, UserProperty=("a", "b"))
    recorder.attempt(client, "unsubscribe", "id/#", properties=properties)
    recorder.wait_for(client, "on_unsubscribe")


@behaviour(connected=True)
def filter_messages(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    for topic in ("f/#", "f/+/x", "f/a/x", "other"):
        client.message_callback_add(topic, recorder.callback(f"filter {topic}"))
    client.message_callback_add("other", recorder.callback("filter other, replaced"))
    subscribe(recorder, client, "#")
    for _ in range(2):
        for topic in ("f", "f/a", "f/a/x", "f/b/x", "other", "unfiltered"):
            client.publish(topic, "payload")
        fence(client, qos=0)
        client.message_callback_remove("f/#")
        client.message_callback_remove("other")
        client.message_callback_remove("was never added")
        recorder.note(client, "filters removed")


@behaviour(connected=True)
def receive_what_is_retained(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    publisher = recorder.watch(make_client(client_id="one"))
    subscriber = recorder.watch(make_client(client_id="two"))
    for number, qos in enumerate((0, 1, 2, 1), 1):
        payload = "" if number == 4 else f"QoS {qos}"
        publisher.publish(f"r/{qos}", payload, qos, retain=True).wait_for_publish(TIMEOUT)
        recorder.wait_for(publisher, "on_publish", number)
    publisher.publish("r/0", "overwritten", 1, retain=True).wait_for_publish(TIMEOUT)
    recorder.wait_for(publisher, "on_publish", 5)
    subscribe(recorder, subscriber, "r/#")
    fence(subscriber)
    publisher.publish("r/0", "live", 0, retain=True)
    recorder.wait_for(publisher, "on_publish", 6)
    recorder.wait_for(subscriber, "on_message", 3)
    subscriber.subscribe("r/+", 0)
    recorder.wait_for(subscriber, "on_subscribe", 2)
    recorder.wait_for(subscriber, "on_message", 5)


@behaviour(connected=True)
def subscribe_with_overlaps(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "o/#", "o/+", "o/a", qos=1)
    client.publish("o/a", "how many?", qos=1)
    fence(client, qos=1)
    client.unsubscribe("o/+")
    recorder.wait_for(client, "on_unsubscribe")
    client.publish("o/a", "and now?", qos=1)
    fence(client, qos=1)


@behaviour(connected=True)
def keep_dollar_topics_apart(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "#", "+/x")
    client.publish("$own/x", "hidden")
    fence(client, qos=0)
    subscribe(recorder, client, "$own/#")
    client.publish("$own/x", "asked for")
    fence(client, qos=0)
    client.subscribe("$SYS/broker/version")
    recorder.wait_for(client, "on_message", 2)


@behaviour(connected=True)
def share_a_subscription(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    workers = [recorder.watch(make_client(client_id=f"worker {n}")) for n in range(2)]
    boss = recorder.watch(make_client(client_id="boss"))
    for worker in workers:
        subscribe(recorder, worker, "$share/group/work")
    for number in range(4):
        boss.publish("work", number)
    for worker in workers:
        fence(worker, boss, qos=0)


# --- Behaviours: callbacks ----------------------------------------------------------------------


@behaviour(connected=True)
def answer_from_a_callback(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))

    def on_question(client: Any, _userdata: Any, message: Any) -> None:
        recorder.note(client, "question", message)
        recorder.note(client, "answer", client.publish("answer", message.payload, 1))
        client.subscribe("more")
        client.unsubscribe("question")

    client.message_callback_add("question", on_question)
    client.on_unsubscribe = recorder.callback(
        "on_unsubscribe", lambda c, *_: c.publish("more", "of the same")
    )
    subscribe(recorder, client, "question", "answer")
    client.publish("question", "?")
    recorder.wait_for(client, "on_message", 2)
    client.publish("question", "too late")
    fence(client, qos=0)


@behaviour(connected=True)
def disconnect_from_a_callback(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.on_message = recorder.callback("on_message", lambda c, *_: c.disconnect())
    subscribe(recorder, client, "end")
    client.publish("end")
    recorder.wait_for(client, "on_disconnect")


@behaviour(connected=True)
def stop_the_loop_from_a_callback(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))

    def stop(client: Any, *_args: Any) -> None:
        recorder.attempt(client, "loop_stop")
        client.disconnect()

    client.on_message = recorder.callback("on_message", stop)
    subscribe(recorder, client, "end")
    client.publish("end")
    recorder.wait_for(client, "on_disconnect")


@behaviour()
def raise_from_a_callback(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug in a callback")

    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_subscribe", "on_log")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.on_message = fail
    client.subscribe("topic")
    drive_until(recorder, client, "on_subscribe")
    for client.suppress_exceptions in (False, True):
        client.publish("topic", "payload")
        received = threading.Event()
        client.on_message = lambda *_, received=received: (received.set(), fail())
        try:
            drive(client, received.is_set)
        except RuntimeError as error:
            recorder.note(client, "raised", str(error))
    client.on_message = recorder.callback("on_message")
    client.publish("topic", "as if nothing had happened")
    drive_until(recorder, client, "on_message")


@behaviour(
    connected=True,
)
def die_of_an_exception(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))

    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug in a callback")

    died = threading.Event()

    def hook(args: Any) -> None:
        recorder.note(client, "the thread died", type(args.exc_value).__name__)
        died.set()

    subscribe(recorder, client, "topic")
    client.on_message = recorder.callback("on_message", fail)
    with mock.patch.object(threading, "excepthook", hook):
        client.publish("topic", "payload")
        assert died.wait(TIMEOUT)
    recorder.note(client, "is_connected", client.is_connected())


@behaviour()
def log(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_log", "on_connect", "on_message")
    client.username_pw_set("user", "password")
    client.will_set("will", "payload", qos=1, retain=True)
    client.connect(*broker.address, keepalive=33)
    drive_until(recorder, client, "on_connect")
    client.subscribe("topic", 2)
    client.publish("topic", "payload", qos=2)
    drive_until(recorder, client, "on_message")
    client.disconnect()
    drive(client, lambda: client.socket() is None)


@behaviour()
def log_to_a_logger(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_message")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recorder.note(client, record.levelname, record.getMessage())

    logger = logging.Logger("of the client")
    logger.addHandler(Handler())
    client.enable_logger(logger)
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.disable_logger()
    client.subscribe("topic")
    client.publish("topic", "unlogged")
    drive_until(recorder, client, "on_message")


@behaviour()
def hand_over_user_data(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one", userdata={"version": 1}))
    bring_online(client, broker.address)
    client.user_data_set("another")
    subscribe(recorder, client, "topic")
    client.publish("topic")
    recorder.wait_for(client, "on_message")


@behaviour(connected=True)
def replace_and_remove_callbacks(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "topic")
    for callback in (recorder.callback("replaced"), None):
        client.on_message = callback
        recorder.note(client, "same", client.on_message is callback)
        client.publish("topic", "payload")
        fence(client, qos=0)
    recorder.note(client, "left", [getattr(client, n) for n in ("on_message", "on_log")])


@behaviour(needs=PAHO_2)
def register_callbacks_by_decorators(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = make_client(client_id="one")
    for kind in (
        "pre_connect",
        "connect",
        "disconnect",
        "message",
        "publish",
        "subscribe",
        "unsubscribe",
        "socket_open",
        "socket_close",
    ):
        getattr(client, f"{kind}_callback")()(recorder.callback(f"on_{kind}"))
    client.topic_callback("filtered/#")(recorder.callback("topic_callback"))
    bring_online(client, broker.address)
    subscribe(recorder, client, "#")
    client.publish("filtered/a")
    client.publish("unfiltered")
    fence(client, qos=0)
    client.unsubscribe("#")
    recorder.wait_for(client, "on_unsubscribe")
    client.disconnect()
    recorder.wait_for(client, "on_socket_close")


@behaviour(needs=PAHO_2)
def register_logging_by_decorators(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = make_client(client_id="one")
    for kind in ("log", "connect_fail", "socket_register_write", "socket_unregister_write"):
        getattr(client, f"{kind}_callback")()(recorder.callback(f"on_{kind}"))
    client.connect(*broker.address)
    drive(client, client.is_connected)
    client.disconnect()
    drive(client, lambda: client.socket() is None)


@behaviour(needs=PAHO_2)
def acknowledge_by_hand(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one", manual_ack=True))
    bring_online(client, broker.address)
    received: list[Any] = []
    client.on_message = recorder.callback("on_message", lambda _c, _u, m: received.append(m))
    client.subscribe("topic", 1)
    recorder.wait_for(client, "on_subscribe")
    client.publish("topic", "payload", 1)
    recorder.wait_for(client, "on_message")
    recorder.wait_for(client, "on_publish")
    recorder.attempt(client, "ack", received[0].mid, received[0].qos)


@behaviour(needs=PAHO_2)
def tell_about_itself(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one", userdata="mine")
    client.username_pw_set("user", "password")
    client.will_set("will/topic", "will payload")
    client.keepalive = 41
    for moment in ("before", "while", "after"):
        if moment == "while":
            bring_online(client, broker.address, keepalive=42)
        if moment == "after":
            client.disconnect()
            client.loop_stop()
        for name in (
            "keepalive",
            "transport",
            "protocol",
            "connect_timeout",
            "username",
            "password",
            "max_inflight_messages",
            "max_queued_messages",
            "will_topic",
            "will_payload",
            "logger",
            "callback_api_version",
        ):
            recorder.note(client, f"{name} {moment}", getattr(client, name))
        recorder.note(client, "user_data_get", client.user_data_get())


# --- Behaviours: wills, sessions, credentials ---------------------------------------------------


@behaviour()
def leave_a_will(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    watcher = recorder.watch(make_client(client_id="watcher"))
    bring_online(watcher, broker.address)
    subscribe(recorder, watcher, "will/#")
    for number, ending in enumerate(("disconnect", "break", "clear", "close")):
        client = recorder.watch(
            make_client(client_id=f"mortal {number}", reconnect_on_failure=False),
            "on_connect",
            "on_disconnect",
        )
        client.will_set(f"will/{ending}", f"died by {ending}", qos=1, retain=True)
        if ending == "clear":
            client.will_clear()
        client.connect(*broker.address)
        drive_until(recorder, client, "on_connect")
        if ending == "disconnect":
            client.disconnect()
        else:
            break_connection(client)
        drive_until(recorder, client, "on_disconnect")
    recorder.wait_for(watcher, "on_message", 2)
    fence(watcher)
    late = recorder.watch(make_client(client_id="late"))
    bring_online(late, broker.address)
    subscribe(recorder, late, "will/#")
    fence(late)


@behaviour()
def leave_a_will_by_closing_the_socket(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    watcher = recorder.watch(make_client(client_id="watcher"))
    bring_online(watcher, broker.address)
    subscribe(recorder, watcher, "will")
    client = recorder.watch(make_client(client_id="mortal"), "on_connect")
    client.will_set("will", "socket closed")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.socket().close()
    recorder.wait_for(watcher, "on_message")


@behaviour(protocols=MQTT_5)
def leave_a_will_with_properties(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    watcher = recorder.watch(make_client(client_id="watcher"))
    bring_online(watcher, broker.address)
    subscribe(recorder, watcher, "will")
    client = recorder.watch(make_client(client_id="mortal"), "on_connect")
    properties = properties_of(
        PacketTypes.WILLMESSAGE,
        ContentType="text/plain",
        UserProperty=("why", "unknown"),
        MessageExpiryInterval=600,
        WillDelayInterval=0,
    )
    client.will_set("will", "with properties", properties=properties)
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    break_connection(client)
    recorder.wait_for(watcher, "on_message")


@behaviour(protocols=MQTT_3)
def resume_a_session(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one", clean_session=False))
    publisher = recorder.watch(make_client(client_id="two"))
    bring_online(client, broker.address)
    bring_online(publisher, broker.address)
    subscribe(recorder, client, "queue/#")
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    settle(publisher)
    for qos in (0, 1, 2):
        publisher.publish(f"queue/{qos}", "while away", qos).wait_for_publish(TIMEOUT)
    client.reconnect()
    start_loop_again(client)
    recorder.wait_for(client, "on_connect", 2)
    recorder.wait_for(client, "on_message", 2)
    fence(client)
    successor = recorder.watch(make_client(client_id="one", clean_session=False))
    client.disconnect()
    recorder.wait_for(client, "on_disconnect", 2)
    client.loop_stop()
    settle(publisher)
    publisher.publish("queue/1", "for the successor", 1).wait_for_publish(TIMEOUT)
    bring_online(successor, broker.address)
    recorder.wait_for(successor, "on_message")


@behaviour(protocols=MQTT_5)
def resume_a_session_that_expires(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    publisher = recorder.watch(make_client(client_id="two"))
    bring_online(publisher, broker.address)
    lasting = properties_of(PacketTypes.CONNECT, SessionExpiryInterval=600)
    bring_online(client, broker.address, clean_start=False, properties=lasting)
    subscribe(recorder, client, "queue/#")
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    settle(publisher)
    publisher.publish("queue/1", "while away", 1).wait_for_publish(TIMEOUT)
    bring_online(client, broker.address, clean_start=False, properties=lasting)
    recorder.wait_for(client, "on_message")
    client.disconnect(properties=properties_of(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
    recorder.wait_for(client, "on_disconnect", 2)
    client.loop_stop()
    bring_online(client, broker.address, clean_start=False, properties=lasting)
    client.disconnect()
    recorder.wait_for(client, "on_disconnect", 3)
    client.loop_stop()
    bring_online(client, broker.address, clean_start=True)


@behaviour(protocols=MQTT_5)
def connect_with_properties(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    properties = properties_of(
        PacketTypes.CONNECT,
        SessionExpiryInterval=60,
        ReceiveMaximum=3,
        MaximumPacketSize=1000,
        TopicAliasMaximum=5,
        UserProperty=("a", "b"),
    )
    bring_online(client, broker.address, properties=properties)
    subscribe(recorder, client, "size")
    client.publish("size", "x" * 2000)
    client.publish("size", "small enough")
    fence(client, qos=0)


@behaviour()
def send_credentials(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    for number, credentials in enumerate([("user", "password"), ("user", None), (None,)]):
        client = recorder.watch(make_client(client_id=f"{number}"), "on_connect", "on_log")
        client.username_pw_set(*credentials)
        client.connect(*broker.address)
        drive_until(recorder, client, "on_connect")


# --- The comparison -----------------------------------------------------------------------------


def _parameters() -> Iterator[Any]:
    for index, case in enumerate(CASES):
        for protocol in case.protocols:
            for api in case.apis:
                dialect = Dialect(protocol, api)
                for source in (lent, acquired) if case.connected else (lent,):
                    name = f"{name_of_behaviour(case)}-{dialect}-{source.__name__}"
                    yield pytest.param(index, dialect, source, marks=case.marks, id=name)


@pytest.mark.filterwarnings("ignore:Callback API version 1:DeprecationWarning")
@pytest.mark.parametrize(("index", "dialect", "source"), list(_parameters()))
def test_a_loan_behaves_as_a_plain_client(index: int, dialect: Dialect, source: Source) -> None:
    expected = record_plain(index, dialect)
    assert expected, "a behaviour that records nothing proves nothing"
    recording = record(CASES[index], dialect, source)
    difference = difflib.unified_diff(expected, recording, "plain", "on loan", lineterm="", n=1)
    assert recording == expected, "\n".join(difference)
