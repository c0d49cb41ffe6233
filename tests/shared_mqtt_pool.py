"""MQTT clients on loan, a monitor of everything that is published, and a clean broker a test.

Needs pytest, paho-mqtt and ``mqtt_test_broker.py`` beside it. Copy both into ``tests/`` and
import the fixtures in ``tests/conftest.py``::

    from shared_mqtt_pool import mqtt_client, mqtt_client_factory, mqtt_monitor, shared_mqtt_pool

and use them::

    def test_status(mqtt_client, mqtt_monitor):
        mqtt_client.publish("device/status", "on", retain=True)
        [message] = mqtt_monitor.wait_for("device/status")
        assert message.payload == b"on" and message.retain

One connection is shared by the whole session: it watches everything that is published, knows
the retained messages, and provides the barriers that replace every ``sleep``. A client on loan
is a real paho client on a connection of its own, since that costs 0.6 ms and behaves, in every
respect, as one does. The pool connects it to the test broker, whatever address it is given,
and when the loan ends, it undoes what the client did: callbacks, subscriptions, session, will.

For suites that make their clients in ``unittest`` classes or module-level helpers, import
``prompt_mqtt_clients`` and ``redirected_mqtt_clients`` and name them in an autouse fixture or
``pytestmark``: they act on every paho client of the process.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import itertools
import json
import os
import queue
import select
import socket
import struct
import sys
import threading
import time
import types
import uuid
import weakref
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import MalformedPacket, Properties  # type: ignore[attr-defined]
from paho.mqtt.subscribeoptions import SubscribeOptions

if TYPE_CHECKING or not __package__:
    from mqtt_test_broker import (
        OBSERVER_ID_PREFIX,
        BrokerError,
        MQTTEndpoint,
        SessionBroker,
        TestMQTTBroker,
        add_to_summary,
        errors_as_failures,
        is_a_test_broker,
        mqtt_length,
        mqtt_string,
        register_with_pytest,
    )
else:
    from .mqtt_test_broker import (
        OBSERVER_ID_PREFIX,
        BrokerError,
        MQTTEndpoint,
        SessionBroker,
        TestMQTTBroker,
        add_to_summary,
        errors_as_failures,
        is_a_test_broker,
        mqtt_length,
        mqtt_string,
        register_with_pytest,
    )

TIMEOUT = 5.0
"""Seconds that a broker gets for an answer before the test fails."""

CALLBACK_PATIENCE = 1.0
"""Seconds that a callback may keep its network loop before nothing more is awaited from it."""

LOOK_INTERVAL = 0.05
"""Seconds after which a barrier that is not back has its connection looked at."""

RETRY_DELAY = 0.01
"""Seconds after which the shared connection is tried again that has broken."""

RECEIVE_SIZE = 65536
"""Bytes that the shared connection takes at a time."""

LARGEST_PACKET = 2**28 + 4
"""Bytes that a packet of MQTT can have at most."""

HISTORY_LENGTH = 100_000
"""Messages that the monitor keeps; of more it keeps the latest and says so."""

HISTORY_SIZE = 64 * 1024 * 1024
"""Bytes of payload that it keeps at most, and the latest message, however large."""

UNDO_ROUNDS = 5
"""Attempts to clear what others go on retaining while we do; one is enough as a rule."""

BARRIER_TOPIC = "$barrier/"
"""Hidden from subscriptions to ``#``, as all topics that begin with a dollar are."""

VISIBLE_BARRIER_TOPIC = f"mqtt-test-barrier/{uuid.uuid4().hex}/"
"""For brokers that may not allow such topics."""

LEAKS_ON_PURPOSE = "leaks_on_purpose"

DEFAULT_PORTS = (1883, 8883)

PREFIX_VARIABLES = ("MQTT_TOPIC_PREFIX", "MQTT_BASE_TOPIC", "MQTT_PREFIX")
"""Environment variables by which services are often told where their topics begin."""

PAHO_MODULE = "paho.mqtt.client"

_RealClient = mqtt.Client  # a suite may replace the module's attribute by a mock
_monotonic = functools.partial(time.monotonic)  # and freeze this wherever it finds it


class MQTTConnectionError(BrokerError):
    """The test broker does not let us in or has stopped answering."""

    def __init__(self, endpoint: MQTTEndpoint, reason: object) -> None:
        super().__init__(
            f"MQTT connection failed: {endpoint.host}:{endpoint.port}: {reason}. "
            "Check that the test broker is running: the shared connection needs it throughout."
        )


class _DeadBrokerError(MQTTConnectionError):
    """The broker has ended although nobody asked it to."""


def new_client(client_class: type[mqtt.Client] = _RealClient, **options: Any) -> mqtt.Client:
    """Make a paho client with the newest callbacks that the installed paho has.

    Usage: ``new_client(client_id="one", protocol=mqtt.MQTTv5)``.
    """
    if hasattr(mqtt, "CallbackAPIVersion"):
        options.setdefault("callback_api_version", mqtt.CallbackAPIVersion.VERSION2)
    return client_class(**options)


# --- What acts on every paho client of the process ---------------------------------------------


class ClientScope:
    """Takes part in the life of every paho client that is made while it is active."""

    def created(self, client: mqtt.Client) -> None:
        """Hear of a new client."""

    def route(
        self,
        client: mqtt.Client,  # noqa: ARG002
        host: str,
        port: int,
    ) -> tuple[str, int]:
        """Say where *client* connects that was told to connect to *host* and *port*."""
        return host, port

    def connecting(self, client: mqtt.Client, host: str, port: int) -> None:
        """Hear that *client* is about to connect to *host* and *port*."""

    def answered(self, client: mqtt.Client) -> None:
        """Hear that *client* has had its CONNACK, and that its ``on_connect`` is through."""

    def published(
        self, client: mqtt.Client, topic: str, qos: int, info: mqtt.MQTTMessageInfo
    ) -> None:
        """Hear of a message that *client* has accepted for publication."""

    def served(self, client: mqtt.Client) -> None:
        """Hear that somebody is about to run the network loop of *client* in his own thread."""

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Take part from here to the end of the ``with`` block."""
        _scopes.append(self)
        if len(_scopes) == 1:
            _paho_patch.apply()
        try:
            yield
        finally:
            _scopes.remove(self)
            if not _scopes:
                _paho_patch.undo()


_scopes: list[ClientScope] = []


class _PahoPatch(importlib.abc.MetaPathFinder):
    """Wraps the methods of paho's Client that matter here, of every copy of paho there is.

    The class is changed in place, not replaced: that reaches subclasses, and services that
    imported the name long ago. A suite that imports paho anew gets a new class; therefore this
    is a finder as well, first in ``sys.meta_path``, that wraps the methods of that one too.
    """

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()

    def apply(self) -> None:
        for client_class in _copies_of_client():
            self._wrap_methods(client_class)
        sys.meta_path.insert(0, self)

    def undo(self) -> None:
        sys.meta_path.remove(self)
        self._patch.undo()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find paho's client module as Python would, and have it wrapped once it has run."""
        if fullname != PAHO_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: types.ModuleType) -> None:
            execute(module)
            self._wrap_methods(module.Client)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrap_methods(self, client_class: Any) -> None:
        # Those of a method that nobody wraps, of a module that may be in sys.modules no more.
        module = client_class._reset_sockets.__globals__
        for name, around in _AROUND_METHODS.items():
            wrapped = _wrap(getattr(client_class, name), around)
            self._patch.setattr(client_class, name, wrapped)
        self._patch.setitem(module, "time", _InterruptibleTime())
        self._patch.setitem(module, "_socketpair_compat", _wake_up_pair)


def _copies_of_client() -> list[type]:
    """Return paho's Client, once for each time that somebody has imported it anew."""
    name = (PAHO_MODULE, _RealClient.__name__)
    return [c for c in object.__subclasses__() if (c.__module__, c.__name__) == name]


def _wrap(method: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(client: mqtt.Client, *args: Any, **kwargs: Any) -> Any:
        return around(method, client, *args, **kwargs)

    return wrapped


def _scopes_of(client: mqtt.Client) -> Sequence[ClientScope]:
    """Return who takes part in the life of a client: nobody else in that of our own."""
    return () if isinstance(client, _ObservingClient) else tuple(_scopes)


def _around_init(method: Callable[..., None], client: Any, *args: Any, **kwargs: Any) -> None:
    method(client, *args, **kwargs)
    for scope in _scopes_of(client):
        scope.created(client)


def _around_reconnect(method: Callable[..., Any], client: Any) -> Any:
    """Connect, perhaps elsewhere; the client goes on to believe in the address it was given."""
    given = host, port = client._host, client._port
    if host and port > 0:  # paho has its own word to say about others
        for scope in _scopes_of(client):
            host, port = scope.route(client, host, port)
        for scope in _scopes_of(client):
            scope.connecting(client, host, port)
    client._host, client._port = host, port
    try:
        result = method(client)
    finally:
        client._host, client._port = given
    _send_at_once(client)
    if vars(client).get("reconnect") is _refuse_to_reconnect:  # its loan has ended meanwhile
        _paho_class_of(client).disconnect(client)
    return result


def _around_connack(method: Callable[..., Any], client: Any) -> Any:
    try:
        return method(client)
    finally:  # its on_connect may raise
        for scope in _scopes_of(client):
            scope.answered(client)


def _around_publish(
    method: Callable[..., Any],
    client: Any,
    topic: str,
    payload: Any = None,
    qos: int = 0,
    *args: Any,
    **kwargs: Any,
) -> Any:
    info = method(client, topic, payload, qos, *args, **kwargs)
    for scope in _scopes_of(client):
        scope.published(client, topic, qos, info)
    return info


def _around_loop(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    for scope in _scopes_of(client):
        scope.served(client)
    return method(client, *args, **kwargs)


def _around_loop_forever(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    """Note whose thread it is, so that who ends the client can wait for it to be out of there."""
    thread = threading.current_thread()
    if thread is client._thread:  # of loop_start(), which goes on here
        return method(client, *args, **kwargs)
    _wake_up_of(thread).clear()  # of another client that was ended here
    stay = vars(client)[_STAY_IN_LOOP] = _StayInLoop(thread)
    try:
        return _around_loop(method, client, *args, **kwargs)
    finally:
        stay.over.set()


@dataclass(frozen=True)
class _StayInLoop:
    thread: threading.Thread
    over: threading.Event = field(default_factory=threading.Event)


_STAY_IN_LOOP = "_mqtt_stay_in_loop"


def _stay_in_loop(client: Any) -> _StayInLoop | None:
    """Say who is in ``loop_forever()`` of a client in a thread that is not the client's own."""
    stay: _StayInLoop | None = vars(client).get(_STAY_IN_LOOP)
    return None if stay is None or stay.over.is_set() else stay


def network_loop_of(client: Any) -> threading.Thread | None:
    """Return the thread in which *client* is served, be it the client's own or another."""
    stay = _stay_in_loop(client)
    thread: threading.Thread | None = stay.thread if stay else client._thread
    return thread


def wake_network_loop(client: Any) -> None:
    """Have the thread that serves *client* look up from the wait for its socket."""
    with contextlib.suppress(OSError, AttributeError):  # its sockets go as it ends
        client._sockpairW.send(b"0")


def _around_loop_stop(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    thread = client._thread
    if thread is None:
        return method(client, *args, **kwargs)
    _stop_network_loop(client, thread)
    try:
        result = method(client, *args, **kwargs)
    except AttributeError:
        # paho 2 forgets its thread as that ends, which may be just before it waits for it,
        if client._thread is not None:
            raise
        return mqtt.MQTT_ERR_SUCCESS
    # or before it looks whether there is one to stop. There was.
    return mqtt.MQTT_ERR_SUCCESS if result == mqtt.MQTT_ERR_INVAL else result


_AROUND_METHODS: dict[str, Callable[..., Any]] = {
    "__init__": _around_init,
    "reconnect": _around_reconnect,  # connect() and the network loop go through it
    "loop": _around_loop,
    "loop_forever": _around_loop_forever,
    "loop_stop": _around_loop_stop,
    "publish": _around_publish,
    "_handle_connack": _around_connack,
}


def _means_a_test_broker(client: Any, host: str, port: int) -> bool:
    """Say whether *client* wants a broker of the tests, though that may be down meanwhile."""
    if is_a_test_broker(host, port):
        vars(client)[_TEST_BROKER] = host, port
    return bool(vars(client).get(_TEST_BROKER) == (host, port))


_TEST_BROKER = "_mqtt_test_broker"


def _raw_socket(client: Any) -> Any:
    connection = client.socket()
    return getattr(connection, "_socket", connection)  # inside paho's websocket


def _peer_of(client: Any) -> Any:
    """Return the address at the other end of a client's connection, if there is one."""
    try:
        return _raw_socket(client).getpeername()
    except (OSError, AttributeError):  # it is closed, or goes this very moment
        return None


def _send_at_once(client: Any) -> None:
    """Switch Nagle's algorithm off: with it, QoS 1 and 2 round trips take 44 ms and more."""
    raw = _raw_socket(client)
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _stop_network_loop(client: Any, thread: threading.Thread) -> None:
    """Have the network loop notice at once that it has to end, not at the end of its second."""
    client._thread_terminate = True
    _wake_up_of(thread).set()
    wake_network_loop(client)


class _InterruptibleTime:
    """Stands in for the module ``time`` inside paho, whose network loop sleeps between retries."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless the network loop of this thread is told to stop."""
        _wake_up_of(threading.current_thread()).wait(seconds)


def _wake_up_of(thread: threading.Thread) -> threading.Event:
    wake_up: threading.Event = thread.__dict__.setdefault("_mqtt_wake_up", threading.Event())
    return wake_up


def _wake_up_pair() -> tuple[socket.socket, socket.socket]:
    """Make the pair that wakes a network loop; paho's own is a TCP connection to itself."""
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


_paho_patch = _PahoPatch()


# --- Ending a client --------------------------------------------------------------------------

_CALLBACKS = (
    "on_connect",
    "on_connect_fail",
    "on_disconnect",
    "on_log",
    "on_message",
    "on_pre_connect",
    "on_publish",
    "on_subscribe",
    "on_unsubscribe",
)
_SOCKET_CALLBACKS = (  # an asyncio loop unregisters the socket in these
    "on_socket_open",
    "on_socket_close",
    "on_socket_register_write",
    "on_socket_unregister_write",
)


def end_client(client: Any, timeout: float = TIMEOUT) -> None:
    """Disconnect *client*, end its network loop, and prove that the broker is done with it.

    None of its callbacks runs from here on. The proof is the end of the stream from the broker,
    which closes a connection once it has processed everything that came before DISCONNECT.

    Raises:
        TimeoutError: the broker did not close the connection, or a callback blocks the network
            loop, for *timeout* seconds.
    """
    _silence(client, _CALLBACKS)
    _forgive_socket_callbacks(client)
    deadline = _monotonic() + timeout
    with contextlib.ExitStack() as opened:
        stream = _duplicate_stream(client) if is_connected(client) else None
        if stream is not None:
            opened.enter_context(stream)
        with contextlib.suppress(OSError):  # of paho 1.6, where the test has closed the socket
            _paho_class_of(client).disconnect(client, properties=_properties_to_end_with(client))
            _write_if_nobody_else_does(client)
        try:
            _end_network_loop(client, deadline)
        except TimeoutError:
            _cut_off(client)
            raise
        _write_what_is_left(client, deadline)
        _silence(client, _SOCKET_CALLBACKS)
        if _stay_in_loop(client) is None:
            client._reset_sockets(sockpair_only=True)  # which paho leaves to the collector
        if stream is not None:
            _wait_for_end(stream, deadline)


def _cut_off(client: Any) -> None:
    """Take the connection from a client whose network loop is kept in a callback."""
    _silence(client, _SOCKET_CALLBACKS)  # they would wait for the other callback
    raw = _raw_socket(client)
    if raw is not None:
        with contextlib.suppress(OSError):
            client.loop_write()  # DISCONNECT, lest its will be published
            raw.shutdown(socket.SHUT_RDWR)


def _paho_class_of(client: Any) -> Any:
    """Return paho's own Client of *client*, past what a subclass makes of its methods."""
    return next(c for c in type(client).__mro__ if c.__module__ == PAHO_MODULE)


def is_connected(client: Any) -> bool:
    """Say whether a client is connected; a subclass may use the name for something else."""
    return bool(_paho_class_of(client).is_connected(client))


def _forgive_socket_callbacks(client: Any) -> None:
    """Let a client end whose socket an event loop watches that is closed, as its test is over."""
    for name in _SOCKET_CALLBACKS:
        callback = getattr(client, name)
        if callback is not None:
            setattr(client, name, functools.partial(_call_and_forgive, callback))


def _call_and_forgive(callback: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(Exception):
        callback(*args)


def _properties_to_end_with(client: Any) -> Properties | None:
    """Have the session end as well; its client id, chosen by the broker, may be unknown to us."""
    if client._protocol != mqtt.MQTTv5:
        return None
    properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    return properties


def _silence(client: Any, callbacks: Sequence[str]) -> None:
    for name in callbacks:
        setattr(client, name, None)
    with client._callback_mutex:
        client._on_message_filtered = type(client._on_message_filtered)()


def _duplicate_stream(client: Any) -> socket.socket | None:
    connection = client.socket()
    try:
        return socket.socket(fileno=os.dup(connection.fileno())) if connection else None
    except OSError:  # closed by the test, or by the network loop this very moment
        return None


def _write_if_nobody_else_does(client: Any) -> None:
    """Send what is queued where no network loop does: none runs, or we are called by it."""
    thread = network_loop_of(client)
    if thread is None or thread is threading.current_thread() or not thread.is_alive():
        client.loop_write()


def _write_what_is_left(client: Any, deadline: float) -> None:
    """Send what did not fit into the connection's buffer, DISCONNECT at the end of it."""
    with contextlib.suppress(OSError, ValueError):  # the connection may end at any time
        while client.want_write() and client.socket() and _monotonic() < deadline:
            select.select([], [client.socket()], [], max(0.0, deadline - _monotonic()))
            if client.loop_write() != mqtt.MQTT_ERR_SUCCESS:
                return


def _end_network_loop(client: Any, deadline: float) -> None:
    stay, thread = _stay_in_loop(client), network_loop_of(client)
    if thread is None or thread is threading.current_thread():
        return
    _stop_network_loop(client, thread)
    if stay is not None:
        has_ended = _await_leaving(client, stay, deadline)
    else:
        thread.join(max(0.0, deadline - _monotonic()))
        has_ended = not thread.is_alive()
    if not has_ended:
        raise TimeoutError(f"the network loop {thread.name} is blocked in a callback")
    client._thread = None


def _await_leaving(client: Any, stay: _StayInLoop, deadline: float) -> bool:
    """Wait for somebody to be out of ``loop_forever()``, unless he is about to connect."""
    while not stay.over.wait(LOOK_INTERVAL):
        if client.socket() is None and not _is_in_callback(client):
            return True  # he will find that he has to stop
        if _monotonic() > deadline:
            return False
    return True


def _wait_for_end(stream: socket.socket, deadline: float) -> None:
    stream.setblocking(True)
    while True:
        stream.settimeout(max(0.001, deadline - _monotonic()))
        try:
            if not stream.recv(65536):
                return
        except ConnectionError:
            return
        except socket.timeout:
            raise TimeoutError("the broker has not closed the connection") from None


# --- The shared connection --------------------------------------------------------------------


@dataclass(frozen=True)
class MQTTMessage:
    """A message as it was published: with the retain flag and the QoS of its publisher."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Any = field(default=None, compare=False, repr=False)  # of MQTT 5, as paho has them

    def json(self) -> Any:
        """Return the payload decoded as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.payload)

    def __str__(self) -> str:
        flags = f"QoS {self.qos}, retained" if self.retain else f"QoS {self.qos}"
        payload = repr(self.payload[:80]) + ("..." if len(self.payload) > 80 else "")
        return f"{self.topic}: {payload} ({flags})"


LEAST_REFUSAL = 0x80
UNSUPPORTED_PROTOCOL = 0x84


class _History:
    """The latest messages, and how many there have been, whichever connection brought them."""

    def __init__(self) -> None:
        self._messages: deque[MQTTMessage] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self.position = 0  # where it ends at present: after so many messages

    def append(self, message: MQTTMessage) -> None:
        """Add *message*, and forget the oldest where there are too many or too large ones."""
        with self._changed:
            self._messages.append(message)
            self._size += len(message.payload)
            self.position += 1
            while len(self._messages) > 1 and self._is_too_much():
                self._size -= len(self._messages.popleft().payload)
            self._changed.notify_all()

    def _is_too_much(self) -> bool:
        return len(self._messages) > HISTORY_LENGTH or self._size > HISTORY_SIZE

    def since(self, position: int) -> tuple[Iterator[MQTTMessage], int]:
        """Return the messages from *position* on, as far as they were kept, and where they end.

        They are held one by one: in a flood, others take their place while they are looked at.
        """
        with self._changed:
            latest = list(itertools.islice(reversed(self._messages), self.position - position))
            return (latest.pop() for _ in range(len(latest))), self.position

    def dropped_since(self, position: int) -> int:
        """Return how many messages from *position* on were not kept."""
        with self._changed:
            return max(0, self.position - position - len(self._messages))

    def wait_until_more(self, position: int, timeout: float) -> bool:
        """Wait for it to go beyond *position*; False where it does not in *timeout* seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.position > position, timeout)


class _UnsupportedProtocolError(Exception):
    """The broker does not speak MQTT 5."""


class _ObservingClient(_RealClient):
    """Hands messages over as they arrive, as MQTTMessage, and sends without a detour.

    With QoS 2, paho waits for the end of the handshake, which is right for whoever must have a
    message once only. Whoever wants to know what the broker retains needs the order of the
    broker. paho also takes several times as long to decode one, and every test has some.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._writing = threading.RLock()
        self._received = bytearray()
        super().__init__(*args, **kwargs)

    def reconnect(self) -> Any:
        """Connect anew; what came or went last may have been half a packet."""
        self._received.clear()
        with self._writing:  # else a sender puts the rest of a packet before our CONNECT
            self._sock_close()
        return super().reconnect()

    def _reconnect_wait(self) -> None:
        """Wait without paho's clock, which a test may freeze."""
        _wake_up_of(threading.current_thread()).wait(RETRY_DELAY)

    def _packet_queue(self, command: int, packet: Any, mid: int, qos: int, info: Any = None) -> Any:
        """Send from this thread: to wake the network loop for it takes longer than that."""
        queued = {"command": command, "mid": mid, "qos": qos, "packet": packet, "info": info}
        self._out_packet.append({**queued, "pos": 0, "to_process": len(packet)})  # type: ignore[typeddict-item]
        if not self._ssl:  # whose objects do not serve two threads
            self._packet_write()
        if self.want_write():
            wake_network_loop(self)
        return mqtt.MQTT_ERR_SUCCESS

    def _packet_write(self) -> Any:
        with self._writing:
            return super()._packet_write()

    def _packet_read(self) -> Any:
        """Take all that has come at once, where paho looks three times for each packet."""
        # paho's websocket looks at a frame from its beginning each time, and gives one at most.
        size = LARGEST_PACKET if self._transport == "websockets" else RECEIVE_SIZE
        try:
            received = self._sock_recv(size)
        except BlockingIOError:
            return mqtt.MQTT_ERR_AGAIN
        except (OSError, AttributeError):  # the latter of paho 1.6, where another thread closes it
            return mqtt.MQTT_ERR_CONN_LOST
        if not received:
            return mqtt.MQTT_ERR_CONN_LOST
        self._received += received
        try:
            return self._handle_packets()
        except (MalformedPacket, IndexError, struct.error):
            return mqtt.MQTT_ERR_PROTOCOL

    def _handle_packets(self) -> Any:
        for flags, packet in _take_packets(self._received):
            read = {"command": flags, "packet": packet, "remaining_length": len(packet)}
            self._in_packet.update(read)  # type: ignore[typeddict-item]
            error = self._packet_handle()
            if error:
                return error
        return mqtt.MQTT_ERR_SUCCESS

    def _handle_publish(self) -> Any:
        message, mid = _decode_publish(self, self._in_packet["command"], self._in_packet["packet"])
        on_message: Any = self.on_message
        if on_message is not None:  # as it is once the connection is being ended
            on_message(message)
        if message.qos == 0:
            return mqtt.MQTT_ERR_SUCCESS
        return self._send_puback(mid) if message.qos == 1 else self._send_pubrec(mid)


class _Observer:
    """The shared connection: sees everything, knows what is retained, provides barriers.

    On a broker that speaks MQTT 3.1.1 alone it learns what is retained by subscribing anew,
    cannot tell whether a message that it sees was published as retained, and its barriers are
    not hidden, since ``$`` topics may be forbidden there.
    """

    def __init__(
        self,
        endpoint: MQTTEndpoint,
        protocol: Any,
        history: _History,
        broker_died: Callable[[], bool],
    ) -> None:
        self._endpoint = endpoint
        self._history = history
        self._broker_died = broker_died
        self._speaks_mqtt_5 = protocol == mqtt.MQTTv5
        self._barrier_topic = BARRIER_TOPIC if self._speaks_mqtt_5 else VISIBLE_BARRIER_TOPIC
        self._refusal: str | None = None
        self._is_unsupported = False
        self._changed = threading.Condition()
        self._barriers: set[bytes] = set()
        self._own_tokens = os.urandom(8)  # other pools on this broker send barriers as well
        self._tokens = itertools.count()
        self._subscribed = False
        self._grants = 0  # of our subscription, by the broker
        self.retained: dict[str, MQTTMessage] = {}
        self._client = new_client(
            _ObservingClient,
            client_id=OBSERVER_ID_PREFIX + os.urandom(8).hex(),
            protocol=protocol,
            **_constructor_options(endpoint),
        )
        _admit(self._client, endpoint)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message  # type: ignore[assignment]

    def connect(self) -> None:
        """Connect and learn what is retained.

        Raises:
            MQTTConnectionError: the broker refuses or does not answer.
            _UnsupportedProtocolError: it does not speak the protocol.
        """
        try:
            self._client.connect(**self._endpoint.get_connection_params())
            self._client.loop_start()
            self._await_subscription()
            self.barrier()
        except (OSError, MQTTConnectionError, _UnsupportedProtocolError) as error:
            self.close()
            if isinstance(error, OSError):
                raise self._failure(error) from None
            raise

    def _failure(self, reason: object) -> MQTTConnectionError:
        if self._broker_died():
            return _DeadBrokerError(self._endpoint, "the broker has ended")
        return MQTTConnectionError(self._endpoint, reason)

    @property
    def network_loop(self) -> threading.Thread | None:
        """The thread that serves the connection."""
        return self._client._thread

    def shares_broker_with(self, client: Any) -> bool:
        """Say whether a client is connected to the same address."""
        return bool(_peer_of(client) == _peer_of(self._client))

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(TimeoutError):  # a broker that hangs is no news at the end
            end_client(self._client)

    def is_connected(self) -> bool:
        """Say whether the broker has granted our subscription on a connection that is open."""
        return self._subscribed and _is_open(self._client)

    def await_connection(self) -> None:
        """Return when there is a connection: one that broke, its network loop makes anew.

        Raises:
            MQTTConnectionError: nobody is there, or lets us in.
        """
        deadline = _monotonic() + TIMEOUT
        while not self.is_connected():
            try:
                socket.create_connection(
                    (self._endpoint.host, self._endpoint.port), TIMEOUT
                ).close()
            except OSError as error:
                raise self._failure(error) from None
            if _monotonic() > deadline:
                raise self._failure(self._refusal or f"no subscription within {TIMEOUT:g} s")
            with self._changed:
                self._changed.wait(RETRY_DELAY)

    def _on_connect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, *_args: Any
    ) -> None:
        if reason == 0:
            self._subscribe()
        else:
            self._refuse(_text_of(reason), unsupported=_value_of(reason) == UNSUPPORTED_PROTOCOL)

    def _subscribe(self) -> None:
        with self._changed:
            self._refusal = None
            self.retained.clear()  # what is still retained comes with the subscription
        if not self._speaks_mqtt_5:
            self._client.subscribe("#", 2)
            return
        # Without our own messages: what we clear a test's retained messages with.
        everything = SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True)
        barriers = SubscribeOptions(qos=2)
        self._client.subscribe([("#", everything), (BARRIER_TOPIC + "#", barriers)])

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, *_args: Any
    ) -> None:
        if any(_value_of(reason) >= LEAST_REFUSAL for reason in reasons):
            self._refuse("it does not let this user subscribe to #, by which tests are watched")
            return
        with self._changed:
            self._subscribed = True
            self._grants += 1
            self._changed.notify_all()

    def _refuse(self, reason: str, *, unsupported: bool = False) -> None:
        with self._changed:
            self._refusal = reason
            self._is_unsupported = unsupported
            self._changed.notify_all()

    def _on_disconnect(self, *_args: Any) -> None:
        with self._changed:
            self._subscribed = False
            self._changed.notify_all()

    def _on_message(self, message: MQTTMessage) -> None:
        with self._changed:
            if not message.topic.startswith(self._barrier_topic):
                self._note(message)
            elif message.payload.startswith(self._own_tokens):
                self._barriers.add(message.payload)
                self._changed.notify_all()

    def _note(self, message: MQTTMessage) -> None:
        if self._speaks_mqtt_5 or not message.retain:  # else it was published before
            self._history.append(message)
        if message.retain and message.payload:
            self.retained[message.topic] = message
        elif message.retain:
            self.retained.pop(message.topic, None)

    def barrier(self, publishers: Sequence[Any] = (), *, before: bytes = b"") -> None:
        """Return when everything that was published before this call has arrived here.

        The broker keeps the order of one connection only, hence a message to oneself through
        each of *publishers*, and one through the shared connection for everybody else.

        Args:
            publishers: clients that may have published.
            before: packets that the shared connection sends before its barrier.

        Raises:
            MQTTConnectionError: a barrier did not come back.
        """
        senders = {self._send_barrier(client): client for client in publishers}
        senders[self._send_barrier(self._client, before)] = self._client
        self._await_barriers(senders)

    def barrier_through(self, clients: Iterable[Any]) -> None:
        """Return when the broker has done what *clients* have asked for before this call.

        One that is kept in a callback is not waited for: it sends nothing meanwhile.

        Raises:
            MQTTConnectionError: a barrier did not come back.
        """
        is_stuck = _stuck_in_callback()
        senders = {self._send_barrier(client): client for client in clients}
        self._await_barriers(senders, can_come=lambda c: _is_open(c) and not is_stuck(c))

    def _send_barrier(self, client: Any, before: bytes = b"") -> bytes:
        """Publish past the client's bookkeeping: its owner's on_publish must not see it."""
        token = self._own_tokens + next(self._tokens).to_bytes(8, "big")
        packet = _publish_packet(client, self._barrier_topic, token)
        with contextlib.suppress(OSError):  # it is being ended, as those who wait will see
            with contextlib.suppress(RuntimeError):  # the event loop that it is in is closed
                client._packet_queue(mqtt.PINGREQ, before + packet, 0, 0)
            _write_if_nobody_else_does(client)
        return token

    def _await_barriers(
        self, senders: dict[bytes, Any], can_come: Callable[[Any], bool] | None = None
    ) -> None:
        can_come = can_come or _is_open
        deadline = _monotonic() + TIMEOUT
        grants, position = self._grants, self._history.position
        while not self._came_back(set(senders)):
            if self._history.position != position:  # a flood is before it, which takes its time
                position = self._history.position
                deadline = _monotonic() + TIMEOUT
            # What a broken connection has not brought to the broker will not come.
            senders = {t: c for t, c in senders.items() if c is self._client or can_come(c)}
            if self._grants != grants:  # our connection was made anew: send it again
                grants = self._grants
                senders = {t: c for t, c in senders.items() if c is not self._client}
                senders[self._send_barrier(self._client)] = self._client
            if _monotonic() > deadline or self._broker_died():
                missing = [client for t, client in senders.items() if t not in self._barriers]
                raise self._failure(self._why_no_barrier(missing))

    def _why_no_barrier(self, senders: Iterable[Any]) -> str:
        reason = f"a barrier did not come back within {TIMEOUT:g} s"
        kept = [_name_of(c) for c in senders if c is not self._client and _is_in_callback(c)]
        if kept:
            return f"{reason}: client {', '.join(kept)} is kept in a callback, and so sends nothing"
        if self._endpoint.topic_prefix:  # a broker of others, who may control access to it
            topics = f"'#' and '{self._barrier_topic}#'"
            reason += f" (this user has to be allowed to publish to and read from {topics})"
        return reason

    def _came_back(self, tokens: set[bytes]) -> bool:
        with self._changed:
            complete = self._changed.wait_for(lambda: tokens <= self._barriers, LOOK_INTERVAL)
            if complete:
                self._barriers -= tokens
            return complete

    def _await_subscription(self, grants_before: int = 0) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._grants > grants_before or self._refusal, TIMEOUT)
            if self._is_unsupported:
                raise _UnsupportedProtocolError
            if self._grants == grants_before:
                reason = self._refusal or f"no subscription was granted within {TIMEOUT:g} s"
                raise MQTTConnectionError(self._endpoint, reason)

    def know_retained(self) -> dict[str, MQTTMessage]:
        """Return what the broker retains, by topic, as far as it has been published here.

        Raises:
            MQTTConnectionError: the broker does not answer.
        """
        if not self._speaks_mqtt_5:
            grants_before = self._grants
            self._subscribe()
            self._await_subscription(grants_before)
            self.barrier()
        with self._changed:
            return dict(self.retained)

    def restore_retained(
        self,
        wanted: Mapping[str, MQTTMessage],
        *,
        only: Container[str] | None = None,
        publishers: Sequence[Any] = (),
    ) -> None:
        """Have the broker retain what *wanted* says, and nothing else; of some topics *only*.

        That undoes what *publishers* and others have published before this call. As a rule it has
        arrived, and one round trip both undoes it and proves that nothing is left.

        Raises:
            MQTTConnectionError: the broker does not confirm it.
        """
        if not self._speaks_mqtt_5:
            self.know_retained()
        for _ in range(UNDO_ROUNDS):
            self.barrier(publishers, before=self._undo(wanted, only))
            if not any(self._differences(wanted, only)):
                return

    def _undo(self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None) -> bytes:
        """Send what was overwritten; return what clears the rest, all in one piece.

        Our own messages do not come back to us: they are noted as if they had taken effect.
        Whatever arrives after that, the next look at the differences finds.
        """
        with self._changed:
            overwritten, surplus = self._differences(wanted, only)
            self.retained.update((message.topic, message) for message in overwritten)
            for topic in surplus:
                del self.retained[topic]
        for message in overwritten:
            self._publish_again(message)
        return b"".join(_publish_packet(self._client, topic, retain=True) for topic in surplus)

    def _publish_again(self, message: MQTTMessage) -> None:
        info = self._client.publish(
            message.topic, message.payload, message.qos, retain=True, properties=message.properties
        )
        try:
            info.wait_for_publish(TIMEOUT)  # a QoS 2 message counts from its PUBREL on
            is_confirmed = info.is_published()
        except (RuntimeError, ValueError):  # the connection was lost
            is_confirmed = False
        if not is_confirmed:
            reason = f"what was retained on {message.topic!r} could not be restored"
            raise MQTTConnectionError(self._endpoint, reason)

    def _differences(
        self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None
    ) -> tuple[list[MQTTMessage], list[str]]:
        """Return the wanted messages that the broker has not, and those that it has too many of."""
        with self._changed:
            overwritten = [m for topic, m in wanted.items() if self.retained.get(topic) != m]
            surplus = [topic for topic in self.retained if topic not in wanted]
        if only is None:
            return overwritten, surplus
        return (
            [message for message in overwritten if message.topic in only],
            [topic for topic in surplus if topic in only],
        )


def _value_of(reason: Any) -> Any:
    """Return the number of a reason, which is an object since paho 2 and with MQTT 5."""
    return getattr(reason, "value", reason)


def _text_of(reason: Any) -> str:
    return mqtt.connack_string(reason) if isinstance(reason, int) else str(reason)


def _is_open(client: Any) -> bool:
    """Say whether the other end of a client's connection is there, noticed by paho or not."""
    connection = client.socket()
    poll = select.poll()
    try:
        poll.register(connection, getattr(select, "POLLRDHUP", select.POLLHUP))
    except (TypeError, ValueError, OSError):  # there is none, or it is closed this very moment
        return False
    return not poll.poll(0)


def _stuck_in_callback() -> Callable[[Any], bool]:
    """Make a test of whether a client is in a callback that has had its time from now on."""
    patience = _monotonic() + CALLBACK_PATIENCE
    return lambda client: _monotonic() > patience and _is_in_callback(client)


def _is_in_callback(client: Any) -> bool:
    return bool(client._in_callback_mutex.locked())


def _name_of(client: Any) -> str:
    return client._client_id.decode() or "without a client id"


def _publish_packet(
    client: Any, topic: str, payload: bytes = b"", *, retain: bool = False
) -> bytes:
    """Build a PUBLISH of QoS 0 in the version of the protocol that *client* speaks."""
    no_properties = b"\x00" if client._protocol == mqtt.MQTTv5 else b""
    body = mqtt_string(topic) + no_properties + payload
    return (b"\x31" if retain else b"\x30") + mqtt_length(len(body)) + body


def _take_packets(received: bytearray) -> Iterator[tuple[int, bytearray]]:
    """Take the packets that are complete from *received*: the first byte of each, and its body."""
    taken = 0
    try:
        while True:
            length, start = 0, taken + 1
            for shift in range(0, 28, 7):
                if start >= len(received):
                    return
                length |= (received[start] & 127) << shift
                start += 1
                if received[start - 1] < 128:
                    break
            else:
                raise MalformedPacket("a length of more than four bytes")
            if start + length > len(received):
                return
            flags, taken = received[taken], start + length
            yield flags, received[start:taken]
    finally:
        del received[:taken]


def _decode_publish(client: Any, flags: int, packet: bytearray) -> tuple[MQTTMessage, int]:
    """Return what a PUBLISH that *client* has received says, and its message id; 0 for QoS 0."""
    qos = flags >> 1 & 3
    position = 2 + int.from_bytes(packet[:2], "big")
    topic = str(packet[2:position], "utf-8", "replace")
    mid = int.from_bytes(packet[position : position + 2], "big") if qos else 0
    position += 2 if qos else 0
    properties: Any = None
    if client._protocol == mqtt.MQTTv5:
        if packet[position]:  # rarely: paho takes 6 KiB for them
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            _, length = properties.unpack(bytes(packet[position:]))
            position += length
        else:
            position += 1
    payload = bytes(memoryview(packet)[position:])
    return MQTTMessage(topic, payload, qos, bool(flags & 1), properties), mid


def _constructor_options(endpoint: MQTTEndpoint) -> dict[str, Any]:
    return {"transport": "websockets"} if endpoint.websockets else {}


def _admit(client: Any, endpoint: MQTTEndpoint) -> None:
    """Have *client* reach *endpoint* in the way that the endpoint wants it."""
    if endpoint.username is not None:
        client.username_pw_set(endpoint.username, endpoint.password)
    if endpoint.ssl_context is not None and not client._ssl:
        client.tls_set_context(endpoint.ssl_context)
    client._ssl = endpoint.ssl_context is not None
    client._transport = "websockets" if endpoint.websockets else "tcp"
    # On a broker that runs share, a fixed client id would throw out that of another run.
    suffix = endpoint.client_id_suffix.encode()
    if client._client_id and not client._client_id.endswith(suffix):
        client._client_id += suffix


# --- The pool ---------------------------------------------------------------------------------


@dataclass
class _Loan:
    any_address: bool = True
    is_served_by_us: bool = False
    answered: threading.Event = field(default_factory=threading.Event)
    sessions: set[str] = field(default_factory=set)  # client ids that the broker may remember


@dataclass(eq=False)
class Lending:
    """A stretch of time in which every new client is on loan.

    From an address that it is given, a client goes to the test broker: from any, or, once
    *any_address* is False, from the ports of MQTT alone.
    """

    clients: list[Any] = field(default_factory=list)
    any_address: bool = True


class SharedMQTTPool(ClientScope):
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
        self.endpoint = _endpoint_from(connection_params)
        self._lock = threading.RLock()
        self._loans: dict[Any, _Loan] = {}
        self._lending: list[Lending] = []
        self.topics: set[str] = set()
        self._unsent: weakref.WeakKeyDictionary[Any, deque[mqtt.MQTTMessageInfo]]
        self._unsent = weakref.WeakKeyDictionary()
        self._outsiders: weakref.WeakSet[Any] = weakref.WeakSet()
        self.start_of_test: int | None = None
        self.history = _History()
        self._observer: _Observer | None = None
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

    @property
    def observer(self) -> _Observer:
        """The shared connection, which is made where there is none."""
        return self.watch()

    def watch(self) -> _Observer:
        """Return the shared connection once it sees what is published from here on.

        Raises:
            MQTTConnectionError: the broker is not there, or does not let us in.
        """
        with self._connecting:
            self._require_open()
            if self._observer is None:
                self._observer = self._new_observer(mqtt.MQTTv5)
        self._observer.await_connection()
        return self._observer

    @property
    def network_loop(self) -> threading.Thread | None:
        """The thread of the shared connection."""
        return self._observer.network_loop if self._observer else None

    def _new_observer(self, protocol: Any) -> _Observer:
        observer = _Observer(self.endpoint, protocol, self.history, self.broker_died)
        try:
            observer.connect()
        except _UnsupportedProtocolError:
            return self._new_observer(mqtt.MQTTv311)
        return observer

    def acquire(self, **options: Any) -> mqtt.Client:
        """Return a client on loan: connected, its network loop running.

        Args:
            **options: for paho's ``Client``, such as ``client_id`` or ``protocol``.

        Raises:
            MQTTConnectionError: the broker does not let it in.
        """
        self._require_open()
        client = new_client(**{**_constructor_options(self.endpoint), **options})
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.on_connect = lambda *args: answers.put(args[3])
        self._lend(client)
        try:
            client.connect(**self.endpoint.get_connection_params())
            client.loop_start()
            reason = answers.get(timeout=TIMEOUT)
            if reason != 0:
                raise MQTTConnectionError(self.endpoint, _text_of(reason))
        except BaseException as error:
            self.release(client)
            if isinstance(error, OSError):
                raise MQTTConnectionError(self.endpoint, error) from None
            if isinstance(error, queue.Empty):
                reason = f"no CONNACK within {TIMEOUT:g} s"
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
            self._unsent.pop(client, None)
        client.reconnect = _refuse_to_reconnect  # type: ignore[method-assign]
        try:
            end_client(client)
        finally:
            for client_id in sessions:
                if not self._is_used(client_id):
                    with contextlib.suppress(ConnectionError):  # a dead broker remembers nobody
                        self.endpoint.end_session(client_id)

    def _is_used(self, client_id: str) -> bool:
        """Say whether another client, on loan or not, goes on with a session."""
        with self._lock:
            clients = {*self._loans, *self._outsiders}
        return any(
            client._client_id == client_id.encode()
            and _is_open(client)
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

    def barrier(self) -> None:
        """Return when the monitor has seen all that was published before this call.

        That is exact for what clients of this process have published, on loan or not, and for
        what reached the broker.

        Raises:
            MQTTConnectionError: the broker does not answer.
        """
        self.observer.barrier(self._publishers())

    def serve(self, lending: Lending) -> None:
        """Run the network loops that nobody runs, until somebody does it himself."""
        for client in lending.clients:
            with self._lock:
                loan = self._loans.get(client)
                if loan is not None and _wants_a_loop(client, loan):
                    loan.is_served_by_us = True
                    client._reset_sockets(sockpair_only=True)  # paho makes a new wake-up pair
                    client.loop_start()

    def served(self, client: mqtt.Client) -> None:
        """Leave the network loop of a client on loan to somebody else."""
        with self._lock:
            loan = self._loans.get(client)
            if loan is None or not loan.is_served_by_us:
                return
            loan.is_served_by_us = False
        client.loop_stop()
        client._thread_terminate = False  # else his loop_forever() returns at once

    def await_connections(self, lending: Lending) -> None:
        """Return when the clients that were lent are connected, and their subscriptions in force.

        Raises:
            MQTTConnectionError: the broker does not answer.
        """
        for client in lending.clients:
            self._await_answer(client)
        self.observer.barrier_through(c for c in lending.clients if is_connected(c))

    def _await_answer(self, client: Any) -> None:
        """Wait for the CONNACK of a client whose network loop is about to get it."""
        loan, network_loop = self._loans.get(client), network_loop_of(client)
        if loan is None or network_loop is None or not client._host:
            return
        is_stuck, deadline = _stuck_in_callback(), _monotonic() + TIMEOUT
        while not loan.answered.wait(LOOK_INTERVAL):
            if is_stuck(client) or _monotonic() > deadline or not network_loop.is_alive():
                return

    def restore_retained(
        self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None = None
    ) -> None:
        """Have the broker retain what *wanted* says, and nothing else; of some topics *only*.

        Raises:
            MQTTConnectionError: the broker does not confirm it.
        """
        self.observer.restore_retained(wanted, only=only, publishers=self._publishers())

    def _publishers(self) -> list[mqtt.Client]:
        """Return the clients of this process that publish, once what they queued is on its way."""
        with self._lock:
            clients = {*self._loans, *self._unsent}
        publishers = [client for client in clients if self._may_have_published(client)]
        for client in publishers:
            self._await_acknowledgements(client)
        return publishers

    def _may_have_published(self, client: Any) -> bool:
        """Say whether a client is connected to our broker; one that is kept in a callback waits."""
        if not is_connected(client) or client in self._loans:
            return is_connected(client)
        return not _is_in_callback(client) and self._shares_broker_with(client)

    def _shares_broker_with(self, client: Any) -> bool:
        if self._observer is None and not self._closed:
            self.watch()
        return self._observer is not None and self._observer.shares_broker_with(client)

    def _await_acknowledgements(self, client: Any) -> None:
        """Wait for QoS 1 and 2 messages: paho sends 20 of them ahead and queues the others."""
        thread = network_loop_of(client)
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return  # nobody receives acknowledgements meanwhile
        deadline = _monotonic() + TIMEOUT
        with self._lock:
            unsent = tuple(_unsettled(self._unsent.get(client, deque())))
        for info in unsent:
            with contextlib.suppress(RuntimeError, ValueError):  # lost with a connection
                info.wait_for_publish(max(0.0, deadline - _monotonic()))

    def close(self) -> None:
        """Release all clients and disconnect; does nothing twice."""
        self._closed = True
        self._life.close()

    def created(self, client: mqtt.Client) -> None:
        """Lend a new client where somebody asked for that."""
        with self._lock:
            if self._lending and client not in self._loans:  # reinitialise() makes it again
                self._lending[-1].clients.append(client)
                self._lend(client, any_address=self._lending[-1].any_address)

    def route(self, client: mqtt.Client, host: str, port: int) -> tuple[str, int]:
        """Connect a client on loan to our broker, unless it wants another one of the tests'."""
        loan = self._loans.get(client)
        elsewhere = (host, port) != (self.endpoint.host, self.endpoint.port)
        if loan is None or (elsewhere and _means_a_test_broker(client, host, port)):
            return host, port
        if elsewhere and not loan.any_address and port not in DEFAULT_PORTS:
            return host, port
        _admit(client, self.endpoint)
        return self.endpoint.host, self.endpoint.port

    def connecting(self, client: mqtt.Client, host: str, port: int) -> None:  # noqa: ARG002
        """Watch the broker before anybody publishes there, also after a restart."""
        if self._observer is not None and (host, port) == (self.endpoint.host, self.endpoint.port):
            with contextlib.suppress(MQTTConnectionError):  # as the client will see
                self._observer.await_connection()

    def answered(self, client: mqtt.Client) -> None:
        """Note that a client on loan is connected, or refused."""
        loan = self._loans.get(client)
        if loan is None:
            with self._lock:
                self._outsiders.add(client)
            return
        if _leaves_a_session(client):
            loan.sessions.add(_session_of(client))
        if client._will:
            self.topics.add(client._will_topic.decode())
        loan.answered.set()

    def published(
        self, client: mqtt.Client, topic: str, qos: int, info: mqtt.MQTTMessageInfo
    ) -> None:
        """Remember who publishes, what he has still to send, and which topics are ours.

        Of QoS 0 there is nothing to send that would not go out before a barrier.
        """
        self.topics.add(topic)
        with self._lock:
            unsent = _unsettled(self._unsent.setdefault(client, deque()))
            if qos > 0 and info.rc == mqtt.MQTT_ERR_SUCCESS:
                unsent.append(info)

    def _lend(self, client: mqtt.Client, *, any_address: bool = True) -> None:
        with self._lock:
            self._loans.setdefault(client, _Loan(any_address))

    def _close_observer(self) -> None:
        with self._connecting:
            if self._observer is not None:
                self._observer.close()

    def _require_open(self) -> None:
        if self._closed:
            raise BrokerError("this pool is closed; make a new SharedMQTTPool")


def _endpoint_from(params: Mapping[str, Any]) -> MQTTEndpoint:
    known = {"host", "port", "keepalive", "username", "password", "ssl_context", "transport"}
    known |= {"client_id_suffix", "topic_prefix"}
    if not {"host", "port"} <= set(params) or not set(params) <= known:
        raise ValueError(
            f"connection_params has {sorted(params)}; it needs host and port, and may have "
            f"{sorted(known - {'host', 'port'})}"
        )
    endpoint = MQTTEndpoint(
        params["host"],
        params["port"],
        username=params.get("username"),
        password=params.get("password"),
        ssl_context=params.get("ssl_context"),
        websockets=params.get("transport") == "websockets",
        client_id_suffix=params.get("client_id_suffix", ""),
        topic_prefix=params.get("topic_prefix", ""),
    )
    endpoint.keepalive = params.get("keepalive", MQTTEndpoint.keepalive)
    return endpoint


def _wants_a_loop(client: Any, loan: _Loan) -> bool:
    """Say whether nobody serves a client that has connected, or is about to."""
    if network_loop_of(client) is not None or client.on_socket_open is not None:
        return False  # the latter is for event loops, which watch the socket themselves
    return client.socket() is not None or (bool(client._host) and not loan.answered.is_set())


def _unsettled(messages: deque[mqtt.MQTTMessageInfo]) -> deque[mqtt.MQTTMessageInfo]:
    """Take the first of *messages* away that are on their way, or lost with their connection."""
    while messages and (messages[0].rc != mqtt.MQTT_ERR_SUCCESS or messages[0].is_published()):
        messages.popleft()
    return messages


def _refuse_to_reconnect() -> Any:
    raise ConnectionRefusedError("this client was on loan, and its test is over")


def _session_of(client: Any) -> str:
    """Return the client id of a client that has its CONNACK, which may have chosen it."""
    if client._client_id or client._protocol != mqtt.MQTTv5:
        return str(client._client_id.decode())
    properties = Properties(PacketTypes.CONNACK)  # type: ignore[no-untyped-call]
    properties.unpack(bytes(client._in_packet["packet"][2:]))  # type: ignore[no-untyped-call]
    return str(getattr(properties, "AssignedClientIdentifier", ""))


def _leaves_a_session(client: Any) -> bool:
    """Say whether the broker keeps a session for *client* after its DISCONNECT."""
    if client._protocol == mqtt.MQTTv5:
        return bool(getattr(client._connect_properties, "SessionExpiryInterval", 0))
    return not client._clean_session


# --- The monitor ------------------------------------------------------------------------------


class MQTTMonitor:
    """What was published since the test began, whoever published it, in its fixtures too.

    Usage::

        mqtt_monitor.wait_for("device/+/status", count=2)
        mqtt_monitor.assert_none("device/alarm")

    """

    def __init__(self, pool: SharedMQTTPool) -> None:
        self._pool = pool
        self._history = pool.history
        pool.watch()
        start = pool.start_of_test
        self._start = self._history.position if start is None else start

    @property
    def messages(self) -> list[MQTTMessage]:
        """What has arrived so far, in order; the latest, where it was too much to keep."""
        return list(self._history.since(self._start)[0])

    @property
    def dropped(self) -> int:
        """How many earlier messages were not kept."""
        return self._history.dropped_since(self._start)

    def describe_dropped(self) -> str:
        """Say how many messages were not kept, and why."""
        return (
            f"{self.dropped} earlier messages were not kept. The monitor keeps {HISTORY_LENGTH} "
            f"messages and {HISTORY_SIZE} bytes of payload: call mqtt_monitor.clear() in between."
        )

    def wait_for(
        self,
        topic_filter: str,
        count: int = 1,
        timeout: float = TIMEOUT,
        where: Callable[[MQTTMessage], bool] | None = None,
    ) -> list[MQTTMessage]:
        """Return the matching messages as soon as there are *count*, from before the call too.

        Args:
            topic_filter: an MQTT topic filter, with ``+`` and ``#``.
            count: how many it takes.
            timeout: seconds to wait for them.
            where: a condition that a message has to meet as well.

        Raises:
            ValueError: the topic filter is malformed.
            pytest.fail.Exception: they do not come; the message lists what came instead.
        """
        __tracebackhide__ = True
        _check_topic_filter(topic_filter)
        deadline = _monotonic() + timeout
        found: list[MQTTMessage] = []
        position = self._start
        while True:
            new, position = self._history.since(position)
            found += [m for m in new if _matches(m, topic_filter, where)]
            if len(found) >= count:
                return found
            if not self._history.wait_until_more(position, max(0.0, deadline - _monotonic())):
                messages = "1 message" if count == 1 else f"{count} messages"
                what = f"{messages} on {topic_filter!r} within {timeout:g} s"
                condition = " that meet the condition" if where else ""
                pytest.fail(f"Waited for {what}{condition}; {len(found)} came. {self._arrived()}")

    def assert_none(self, topic_filter: str) -> None:
        """Check that nothing was published on *topic_filter*, after a barrier.

        Raises:
            ValueError: the topic filter is malformed.
            pytest.fail.Exception: something was; the message lists it.
        """
        __tracebackhide__ = True
        _check_topic_filter(topic_filter)
        self._pool.barrier()
        found = [m for m in self.messages if _matches(m, topic_filter, None)]
        if self.dropped:
            pytest.fail(
                f"Whether nothing was published on {topic_filter!r} cannot be told: "
                f"{self.describe_dropped()}"
            )
        if found:
            listing = "\n".join(f"  {message}" for message in found)
            pytest.fail(f"Nothing was to be published on {topic_filter!r}, but was:\n{listing}")

    def clear(self) -> None:
        """Forget what has been published so far."""
        self._pool.barrier()
        self._start = self._history.position

    def _arrived(self) -> str:
        messages, dropped = self.messages, self.dropped
        if not messages:
            return "Nothing was published at all."
        lines = [f"  {message}" for message in messages[-20:]]
        if len(messages) + dropped > len(lines):
            lines.insert(0, f"  ({len(messages) + dropped - len(lines)} earlier ones)")
        return "\n".join(["Published were:", *lines])


def _matches(
    message: MQTTMessage, topic_filter: str, where: Callable[[MQTTMessage], bool] | None
) -> bool:
    return mqtt.topic_matches_sub(topic_filter, message.topic) and (not where or where(message))


def _check_topic_filter(topic_filter: str) -> None:
    __tracebackhide__ = True
    levels = topic_filter.split("/")
    misplaced = "#" in "".join(levels[:-1]) or any(
        wildcard in level and level != wildcard for level in levels for wildcard in "+#"
    )
    if not topic_filter or misplaced:
        raise ValueError(
            f"{topic_filter!r} is no MQTT topic filter: + stands for one whole level, "
            "# for all that follow, at the end"
        )
    if topic_filter.startswith("$"):
        raise ValueError(
            f"{topic_filter!r}: the monitor does not see topics that begin with $; of a shared "
            "subscription give what follows the name of its group"
        )


# --- Fixtures ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_mqtt_pool(session_mqtt_broker: SessionBroker) -> Iterator[SharedMQTTPool]:
    """The pool of this session."""
    params = session_mqtt_broker.get_connection_params()
    security = session_mqtt_broker.get_security_params()
    with SharedMQTTPool({**params, **security}) as pool:
        pool.broker_died = session_mqtt_broker.died
        yield pool
    for line in _topics_that_runs_share(pool):
        add_to_summary("topics that other test runs on this broker see", line)


def _topics_that_runs_share(pool: SharedMQTTPool) -> Iterator[str]:
    prefix = pool.endpoint.topic_prefix
    outside = sorted(topic for topic in pool.topics if not topic.startswith(prefix))
    if outside:
        yield (
            f"{len(outside)} outside of {prefix!r}, such as {', '.join(outside[:3])}. Have the "
            f"service take its prefix from one of {', '.join(PREFIX_VARIABLES)}, which its fixture "
            "sets; or unset MQTT_TEST_BROKER_URL to have a broker for each run."
        )


@pytest.fixture
def clean_mqtt_broker(
    live_mqtt_broker: SessionBroker, shared_mqtt_pool: SharedMQTTPool
) -> Iterator[SharedMQTTPool]:
    """A broker that after the test retains what it did before, whoever published in between."""
    with errors_as_failures():
        shared_mqtt_pool.barrier()
        retained_before = shared_mqtt_pool.observer.know_retained()
    shared_mqtt_pool.start_of_test = shared_mqtt_pool.history.position
    yield shared_mqtt_pool
    shared_mqtt_pool.start_of_test = None
    # On a broker of others, what they publish meanwhile is theirs.
    only = None if isinstance(live_mqtt_broker, TestMQTTBroker) else shared_mqtt_pool.topics
    with errors_as_failures(), contextlib.suppress(_DeadBrokerError):
        if retained_before and not live_mqtt_broker.died():
            live_mqtt_broker.start()  # the test may have ended with it stopped
        if live_mqtt_broker.is_running():  # a dead one retains nothing, and is reported elsewhere
            shared_mqtt_pool.restore_retained(retained_before, only)


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


# --- Suites without fixtures ------------------------------------------------------------------


class _RedirectedClients(ClientScope):
    """Sends connections to hard-coded addresses to the session's broker."""

    def __init__(self, endpoint: MQTTEndpoint, ports: Sequence[int]) -> None:
        self._endpoint = endpoint
        self._ports = ports

    def route(self, client: mqtt.Client, host: str, port: int) -> tuple[str, int]:
        """Send *client* to the session's broker if it wants one of the ports."""
        if port not in self._ports or _means_a_test_broker(client, host, port):
            return host, port
        _admit(client, self._endpoint)
        return self._endpoint.host, self._endpoint.port


@pytest.fixture(scope="session")
def redirected_mqtt_ports() -> Sequence[int]:
    """The ports whose connections ``redirected_mqtt_clients`` redirects; override as needed."""
    return (1883,)


@pytest.fixture(scope="session")
def redirected_mqtt_clients(
    session_mqtt_broker: SessionBroker, redirected_mqtt_ports: Sequence[int]
) -> Iterator[None]:
    """Connections to port 1883 of any host go to the session's broker; others are left alone."""
    with _RedirectedClients(session_mqtt_broker, redirected_mqtt_ports).active():
        yield


class _PromptClients(ClientScope):
    """Ends the clients that a test leaves running, and names the test; a plugin while in use."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._made_in: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._of_the_test: list[Any] = []
        self._wider_fixtures: list[str] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Take part in the life of clients, fixtures and tests."""
        self._config.pluginmanager.register(self)
        with super().active():
            yield
            self._end(list(self._made_in))
        self._config.pluginmanager.unregister(self)

    def created(self, client: mqtt.Client) -> None:
        """Note *client*; one that a fixture of a wider scope makes outlives the test."""
        self._made_in[client] = os.environ.get("PYTEST_CURRENT_TEST", "no test").split(" ")[0]
        if not self._wider_fixtures:
            self._of_the_test.append(client)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Know while a fixture wider than a test is set up; ``setUpClass`` is one to pytest."""
        if fixturedef.scope == "function":
            yield
            return
        self._wider_fixtures.append(fixturedef.argname)
        yield
        self._wider_fixtures.pop()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Stop what the test left running, once its own fixtures are through."""
        yield
        clients, self._of_the_test = self._of_the_test, []
        if leaks_on_purpose(item):
            for client in clients:
                self._made_in.pop(client, None)
        else:
            self._end(clients)

    def _end(self, clients: Iterable[Any]) -> None:
        for client in clients:
            thread = network_loop_of(client)
            if client.socket() is not None or (thread is not None and thread.is_alive()):
                self._end_and_name(client)

    def _end_and_name(self, client: Any) -> None:
        line = (
            f"{self._made_in[client]}: client {_name_of(client)}: call disconnect() and "
            f"loop_stop(), or mark the test {LEAKS_ON_PURPOSE} if others use the client"
        )
        try:
            end_client(client, timeout=1.0)
        except TimeoutError as error:
            line += f" ({error})"
        add_to_summary("MQTT clients left running (stopped)", line)


@pytest.fixture(scope="session")
def prompt_mqtt_clients(pytestconfig: pytest.Config) -> Iterator[None]:
    """Network loops end at once when stopped; clients left running are stopped and named."""
    with _PromptClients(pytestconfig).active():
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker for tests that need a real leak."""
    config.addinivalue_line(
        "markers", f"{LEAKS_ON_PURPOSE}: what the test leaves running is not ended after it"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have a test's clean broker set up first, so that it is cleaned after all other fixtures."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "clean_mqtt_broker" in names:
        definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
        wider = [n for n in names if n in definitions and definitions[n][-1].scope != "function"]
        own = [name for name in names if name not in wider]
        names[:] = [*wider, *sorted(own, key=lambda name: name != "clean_mqtt_broker")]


def leaks_on_purpose(item: pytest.Item) -> bool:
    """Say whether a test is marked as one that needs a real leak."""
    return item.get_closest_marker(LEAKS_ON_PURPOSE) is not None


register_with_pytest(__name__)
