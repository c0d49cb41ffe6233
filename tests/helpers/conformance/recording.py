"""What clients see, noted so that it can be compared: plain ones, and ones on loan."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import paho.mqtt.client as mqtt
from mqtt_test_broker import TestMQTTBroker
from paho.mqtt.properties import Properties
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

MakeClient = Callable[..., Any]


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
            properties = value.json()  # type: ignore[no-untyped-call, unused-ignore]
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
        if hasattr(mqtt, "CallbackAPIVersion"):
            options["callback_api_version"] = mqtt.CallbackAPIVersion(self.api)
        return options


MQTT_3 = (mqtt.MQTTv311,)
MQTT_5 = (mqtt.MQTTv5,)
APIS = (1, 2) if PAHO_2 else (1,)


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
