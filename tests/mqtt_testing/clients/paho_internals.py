"""Everything that uses private names of paho, a verb a function."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any, Callable

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..originals import threading, time
from ..wire.endpoint import MQTTEndpoint
from ..wire.packets import MQTTMessage
from . import limits
from .sockets import is_connection_open

PAHO_MODULE = "paho.mqtt.client"

RealClient = mqtt.Client  # a suite may replace the module's attribute by a mock


class UnheardClient(RealClient):
    """A client that no listener is told of."""


NEEDED_METHODS = """
    _handle_connack _handle_publish _packet_handle _packet_queue _packet_read _packet_write
    _reconnect_wait _reset_sockets _send_puback _send_pubrec _sock_close _sock_recv
""".split()
NEEDED_ATTRIBUTES = """
    _callback_mutex _clean_session _client_id _connect_properties _host _in_callback_mutex
    _in_packet _last_mid _on_message_filtered _out_packet _port _protocol _registered_write
    _sockpairR _sockpairW _ssl _thread _thread_terminate _transport _will
    _will_payload _will_qos _will_retain _will_topic
""".split()


def missing_names(client_class: Any = RealClient) -> list[str]:
    """Return the private names that we need and paho's ``Client`` does not have."""
    functions = [value for value in vars(client_class).values() if inspect.isfunction(value)]
    used = {name for function in functions for name in function.__code__.co_names}
    return [
        *(name for name in NEEDED_METHODS if not hasattr(client_class, name)),
        *(name for name in NEEDED_ATTRIBUTES if name not in used),
    ]


def check_paho() -> None:
    """Check that paho is one that we know.

    Raises:
        RuntimeError: it lacks a name; says which, and what to do.
    """
    missing = missing_names()
    if missing:
        version = paho.mqtt.__version__
        raise RuntimeError(
            f"paho-mqtt {version} has no Client.{missing[0]}: update the folder mqtt_testing, "
            f"or pin paho-mqtt<{version}"
        )


def new_client(client_class: type[mqtt.Client] = RealClient, **options: Any) -> mqtt.Client:
    """Make a paho client with the newest callbacks that the installed paho has.

    Usage: ``new_client(client_id="one", protocol=mqtt.MQTTv5)``.
    """
    if hasattr(mqtt, "CallbackAPIVersion"):
        options.setdefault("callback_api_version", mqtt.CallbackAPIVersion.VERSION2)
    return client_class(**options)


def class_of(client: Any) -> Any:
    """Return paho's own Client of *client*, past what a subclass makes of its methods."""
    return next(c for c in type(client).__mro__ if c.__module__ == PAHO_MODULE)


def namespace_of(client_class: Any) -> dict[str, Any]:
    """Return the names of the module in which a copy of paho's Client was defined."""
    # Of a method that is not wrapped; the module may be in sys.modules no more.
    namespace: dict[str, Any] = client_class._reset_sockets.__globals__
    return namespace


# The connection


def raw_socket(client: Any) -> Any:
    """Return the socket under a client's TLS or websocket; None where it is not connected."""
    connection = client.socket()
    return getattr(connection, "_socket", connection)  # inside paho's websocket


def own_port_of(client: Any) -> int:
    """Return the port of a client's own end of its connection; 0 where there is none."""
    try:
        return int(raw_socket(client).getsockname()[1])
    except (OSError, AttributeError, IndexError, TypeError):  # it is closed, or a Unix socket
        return 0


def peer_of(client: Any) -> Any:
    """Return the address at the other end of a client's connection, if there is one."""
    try:
        return raw_socket(client).getpeername()
    except (OSError, AttributeError):  # it is closed, or goes this very moment
        return None


def is_connected(client: Any) -> bool:
    """Return whether a client is connected; a subclass may use the name for something else."""
    return bool(class_of(client).is_connected(client))


def is_open(client: Any) -> bool:
    """Return whether the other end of a client's connection is there, noticed by paho or not."""
    return is_connection_open(client.socket())


def address_of(client: Any) -> tuple[str, int]:
    """Return the host and the port that a client was told to connect to; empty before that."""
    return client._host, client._port


def set_address(client: Any, address: tuple[str, int]) -> None:
    """Let a client connect to *address* the next time."""
    client._host, client._port = address


def speak_as_wanted_by(endpoint: MQTTEndpoint, client: Any) -> None:
    """Let a client speak TLS and websockets to *endpoint*, or not, whatever it was told."""
    if endpoint.ssl_context is not None and not client._ssl:
        client.tls_set_context(endpoint.ssl_context)
    client._ssl = endpoint.ssl_context is not None
    client._transport = "websockets" if endpoint.websockets else "tcp"


def refuse_to_reconnect() -> Any:
    """Stand in for ``reconnect`` of a client whose loan has ended."""
    raise ConnectionRefusedError("this client was on loan, and its test is over")


# Its identity, and what it asks of the broker


def client_id_of(client: Any) -> str:
    """Return the client id; empty where the broker chooses it."""
    return str(client._client_id.decode())


def set_client_id(client: Any, client_id: str) -> None:
    """Give a client another id for its next connection."""
    client._client_id = client_id.encode()


def name_of(client: Any) -> str:
    """Return the client id, for messages."""
    return client_id_of(client) or "without a client id"


def speaks_mqtt_5(client: Any) -> bool:
    """Return whether *client* speaks MQTT 5."""
    return bool(client._protocol == mqtt.MQTTv5)


def session_of(client: Any) -> str:
    """Return the client id of a client that has its CONNACK, which may have chosen it."""
    if client._client_id or not speaks_mqtt_5(client):
        return client_id_of(client)
    properties = Properties(PacketTypes.CONNACK)  # type: ignore[no-untyped-call]
    properties.unpack(bytes(client._in_packet["packet"][2:]))  # type: ignore[no-untyped-call]
    return str(getattr(properties, "AssignedClientIdentifier", ""))


def leaves_a_session(client: Any) -> bool:
    """Return whether the broker keeps a session for *client* after its DISCONNECT."""
    if speaks_mqtt_5(client):
        return bool(getattr(client._connect_properties, "SessionExpiryInterval", 0))
    return not client._clean_session


def will_of(client: Any) -> MQTTMessage | None:
    """Return a client's will, if it has one."""
    if not client._will:
        return None
    topic, payload = client._will_topic.decode(), bytes(client._will_payload)
    return MQTTMessage(topic, payload, client._will_qos, bool(client._will_retain))


def connack_code_of(client: Any) -> int:
    """Return the code of the CONNACK that a client handles; 0 lets it in."""
    return int.from_bytes(client._in_packet["packet"][1:2], "big")


def value_of(reason: Any) -> Any:
    """Return the number of a reason, which is an object since paho 2 and with MQTT 5."""
    return getattr(reason, "value", reason)


def text_of(reason: Any) -> str:
    """Return a reason in words."""
    return mqtt.connack_string(reason) if isinstance(reason, int) else str(reason)


# The network loop and its callbacks


def own_thread_of(client: Any) -> Any:
    """Return the thread of ``loop_start()``; None where there is none."""
    return client._thread


def runs_network_loop(thread: threading.Thread) -> bool:
    """Return whether a thread was made by ``loop_start()``, of whatever copy of paho."""
    owner = getattr(getattr(thread, "_target", None), "__self__", None)
    return any(cls.__module__ == PAHO_MODULE for cls in type(owner).__mro__)


def forget_own_thread(client: Any) -> None:
    """Let a client know that the thread of ``loop_start()`` has ended."""
    client._thread = None


def tell_loop_to_end(client: Any, *, end: bool = True) -> None:
    """Let the network loop end at its next round, or with *end* False go on."""
    client._thread_terminate = end


def is_told_to_end(client: Any) -> bool:
    """Return whether the network loop of *client* has to end."""
    return bool(client._thread_terminate)


def wake_network_loop(client: Any) -> None:
    """Wake *client*'s network thread from ``select()``."""
    with contextlib.suppress(OSError, AttributeError):  # its sockets go as it ends
        client._sockpairW.send(b"0")


def has_wake_up_pair(client: Any) -> bool:
    """Return whether *client*'s network loop can be woken; paho's ``loop_forever()`` cannot."""
    return client._sockpairW is not None


def set_wake_up_pair(client: Any, pair: tuple[Any, Any]) -> None:
    """Let *client*'s network loop be woken by a pair of sockets."""
    client._sockpairR, client._sockpairW = pair


def close_wake_up_pair(client: Any) -> None:
    """Close the sockets by which the network loop is woken; paho makes new ones."""
    client._reset_sockets(sockpair_only=True)


def queue_packet(client: Any, packet: bytes) -> None:
    """Send *packet* past the bookkeeping of *client*: none of its callbacks tells of it."""
    client._packet_queue(mqtt.PINGREQ, packet, 0, 0)


def watch_packets(client: Any, handled: Callable[[int], object]) -> Callable[[], None]:
    """Call *handled* with the type of each packet that *client* has handled, callbacks included.

    Returns:
        what ends that.
    """
    handle = client._packet_handle

    def handle_and_tell() -> Any:
        command = client._in_packet["command"] & 0xF0
        try:
            return handle()
        finally:
            handled(command)

    client._packet_handle = handle_and_tell
    return lambda: vars(client).pop("_packet_handle", None)


def append_packet(client: Any, packet: bytes) -> None:
    """Queue *packet* without telling the event loop that serves *client*."""
    queued = {"command": mqtt.PINGREQ, "mid": 0, "qos": 0, "packet": packet, "info": None}
    client._out_packet.append({**queued, "pos": 0, "to_process": len(packet)})


def write_packets(client: Any) -> Any:
    """Write what is queued and fits, without telling the event loop; return paho's result."""
    return client._packet_write()


def is_writing(client: Any) -> bool:
    """Return whether *client* has asked an event loop to tell when it can write."""
    return bool(client._registered_write)


def last_packet_id(client: Any) -> int:
    """Return a number that changes with each SUBSCRIBE and PUBLISH."""
    return int(client._last_mid)


def is_in_callback(client: Any) -> bool:
    """Return whether the network loop of *client* is in one of its callbacks."""
    return bool(client._in_callback_mutex.locked())


def leaves_callback(client: Any, timeout: float) -> bool:
    """Return whether the network loop of *client* leaves its callback in *timeout* seconds."""
    if not client._in_callback_mutex.acquire(timeout=timeout):
        return False
    client._in_callback_mutex.release()
    return True


def stuck_in_callback() -> Callable[[Any], bool]:
    """Make a test of whether a client is in a callback that has had its time from now on."""
    patience = time.monotonic() + limits.CALLBACK_PATIENCE
    return lambda client: time.monotonic() > patience and is_in_callback(client)


def drop_callbacks(client: Any, names: Sequence[str]) -> None:
    """Take callbacks from a client, and those of ``message_callback_add``.

    They may hold the last reference to an object whose ``__del__`` uses the client. So they are
    let go as this returns, where no lock of paho's is held.
    """
    taken = [getattr(client, name, None) for name in names]  # paho 1.6 has fewer
    for name in names:
        setattr(client, name, None)
    with client._callback_mutex:
        taken.append(client._on_message_filtered)
        client._on_message_filtered = type(client._on_message_filtered)()
