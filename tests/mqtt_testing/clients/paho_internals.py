"""Everything that reaches into paho's private names."""

from __future__ import annotations

import select
import socket
from typing import Any, Callable

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..originals import monotonic
from . import limits

PAHO_MODULE = "paho.mqtt.client"

RealClient = mqtt.Client  # a suite may replace the module's attribute by a mock


def new_client(client_class: type[mqtt.Client] = RealClient, **options: Any) -> mqtt.Client:
    """Make a paho client with the newest callbacks that the installed paho has.

    Usage: ``new_client(client_id="one", protocol=mqtt.MQTTv5)``.
    """
    if hasattr(mqtt, "CallbackAPIVersion"):
        options.setdefault("callback_api_version", mqtt.CallbackAPIVersion.VERSION2)
    return client_class(**options)


def raw_socket(client: Any) -> Any:
    """Return the socket under a client's TLS or websocket; None where it is not connected."""
    connection = client.socket()
    return getattr(connection, "_socket", connection)  # inside paho's websocket


def peer_of(client: Any) -> Any:
    """Return the address at the other end of a client's connection, if there is one."""
    try:
        return raw_socket(client).getpeername()
    except (OSError, AttributeError):  # it is closed, or goes this very moment
        return None


def send_at_once(client: Any) -> None:
    """Switch Nagle's algorithm off: with it, QoS 1 and 2 round trips take 44 ms and more."""
    raw = raw_socket(client)
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def paho_class_of(client: Any) -> Any:
    """Return paho's own Client of *client*, past what a subclass makes of its methods."""
    return next(c for c in type(client).__mro__ if c.__module__ == PAHO_MODULE)


def is_connected(client: Any) -> bool:
    """Say whether a client is connected; a subclass may use the name for something else."""
    return bool(paho_class_of(client).is_connected(client))


def value_of(reason: Any) -> Any:
    """Return the number of a reason, which is an object since paho 2 and with MQTT 5."""
    return getattr(reason, "value", reason)


def text_of(reason: Any) -> str:
    """Return a reason in words."""
    return mqtt.connack_string(reason) if isinstance(reason, int) else str(reason)


def is_open(client: Any) -> bool:
    """Say whether the other end of a client's connection is there, noticed by paho or not."""
    connection = client.socket()
    poll = select.poll()
    try:
        poll.register(connection, getattr(select, "POLLRDHUP", select.POLLHUP))
    except (TypeError, ValueError, OSError):  # there is none, or it is closed this very moment
        return False
    return not poll.poll(0)


def stuck_in_callback() -> Callable[[Any], bool]:
    """Make a test of whether a client is in a callback that has had its time from now on."""
    patience = monotonic() + limits.CALLBACK_PATIENCE
    return lambda client: monotonic() > patience and is_in_callback(client)


def is_in_callback(client: Any) -> bool:
    """Return whether the network loop of *client* is in one of its callbacks."""
    return bool(client._in_callback_mutex.locked())


def name_of(client: Any) -> str:
    """Return the client id, for messages."""
    return client._client_id.decode() or "without a client id"


def refuse_to_reconnect() -> Any:
    """Stand in for ``reconnect`` of a client whose loan has ended."""
    raise ConnectionRefusedError("this client was on loan, and its test is over")


def session_of(client: Any) -> str:
    """Return the client id of a client that has its CONNACK, which may have chosen it."""
    if client._client_id or client._protocol != mqtt.MQTTv5:
        return str(client._client_id.decode())
    properties = Properties(PacketTypes.CONNACK)  # type: ignore[no-untyped-call]
    properties.unpack(bytes(client._in_packet["packet"][2:]))  # type: ignore[no-untyped-call]
    return str(getattr(properties, "AssignedClientIdentifier", ""))


def leaves_a_session(client: Any) -> bool:
    """Say whether the broker keeps a session for *client* after its DISCONNECT."""
    if client._protocol == mqtt.MQTTv5:
        return bool(getattr(client._connect_properties, "SessionExpiryInterval", 0))
    return not client._clean_session


def speaks_mqtt_5(client: Any) -> bool:
    """Return whether *client* speaks MQTT 5."""
    return bool(client._protocol == mqtt.MQTTv5)
