"""The address of a broker and what it takes to get in."""

from __future__ import annotations

import base64
import ssl
import struct
from typing import Any

from ..originals import os, socket
from .own_connections import left_alone
from .packets import DISCONNECT, SecretPacket, connect_packet, receive

LONGEST_REPLY = 65536
"""Bytes of headers with which a server may answer a websocket upgrade."""


class _Password(str):
    """A password that no traceback shows: neither its locals nor a dict that it is in."""

    def __repr__(self) -> str:
        return "'***'"


class MQTTEndpoint:
    """The address of a broker and what it takes to get in: what all kinds of broker share."""

    keepalive = 60

    def __init__(
        self,
        host: str,
        port: int,
        *,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        websockets: bool = False,
        client_id_suffix: str = "",
        topic_prefix: str = "",
    ) -> None:
        self.host = host
        self.port = port
        self.username = username
        self.password = None if password is None else _Password(password)
        self.ssl_context = ssl_context
        self.websockets = websockets
        self.client_id_suffix = client_id_suffix
        self.topic_prefix = topic_prefix

    def get_connection_params(self) -> dict[str, Any]:
        """Return ``host``, ``port`` and ``keepalive`` (seconds), for ``client.connect(**...)``."""
        return {"host": self.host, "port": self.port, "keepalive": self.keepalive}

    def get_security_params(self) -> dict[str, Any]:
        """Return what a client has to set before it connects; empty for a plain open broker.

        The keys are ``username`` and ``password`` (for ``username_pw_set``), ``ssl_context``
        (for ``tls_set_context``) and ``transport`` (for the constructor); on a broker that others
        use too, ``client_id_suffix`` and ``topic_prefix``, which keep this run apart.
        """
        params: dict[str, Any] = {}
        if self.username is not None:
            params.update(username=self.username, password=self.password)
        if self.ssl_context is not None:
            params["ssl_context"] = self.ssl_context
        if self.websockets:
            params["transport"] = "websockets"
        if self.topic_prefix:
            params.update(client_id_suffix=self.client_id_suffix, topic_prefix=self.topic_prefix)
        return params

    def answers(self, timeout: float = 1.0, client_id: str = "") -> bool:
        """Return whether a CONNECT of *client_id* gets its CONNACK within *timeout* seconds.

        A CONNACK that refuses us is an answer too: a broker that asks for credentials is up.
        """
        try:
            return self.connack(timeout, client_id) is not None
        except OSError:
            return False

    def connack(
        self,
        timeout: float = 1.0,
        client_id: str = "",
        *,
        mqtt_5: bool = False,
        and_then: bytes = b"",
    ) -> int | None:
        """Return the code of the CONNACK that a CONNECT of *client_id* gets; 0 lets it in.

        None where something else comes. The packet *and_then* is sent at once with the CONNECT.

        Raises:
            OSError: nothing comes within *timeout* seconds.
        """
        connect = connect_packet(client_id, self.username, self.password, mqtt_5=mqtt_5)
        packets = SecretPacket(connect + and_then)
        frame = 2 if self.websockets else 0
        with self._open_socket(timeout) as connection:
            connection.sendall(_framed(packets) if self.websockets else packets)
            reply = receive(connection, frame + 4)[frame:]
        return reply[3] if reply[:1] == b"\x20" and len(reply) == 4 else None

    def end_session(self, client_id: str, timeout: float = 5.0) -> None:
        """Make the broker forget the persistent session of *client_id* (within *timeout* s).

        Raises:
            OSError: the broker cannot be reached.
        """
        self.connack(timeout, client_id, and_then=DISCONNECT)

    def _open_socket(self, timeout: float) -> socket.socket:
        with left_alone():
            connection = socket.create_connection((self.host, self.port), timeout)
        try:
            if self.ssl_context is not None:
                connection = self.ssl_context.wrap_socket(connection, server_hostname=self.host)
            if self.websockets:
                _upgrade_to_websocket(connection, self.host)
        except OSError:
            connection.close()
            raise
        return connection


def address(endpoint: MQTTEndpoint) -> str:
    """Return host and port as a URL has them."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _framed(packets: bytes) -> bytes:
    """Put packets into one binary frame of a websocket, under an all-zero mask: as they are."""
    size = len(packets)
    length = struct.pack("!BH", 0xFE, size) if size > 125 else bytes([0x80 | size])
    return SecretPacket(b"\x82" + length + bytes(4) + packets)


def _upgrade_to_websocket(connection: socket.socket, host: str) -> None:
    """Upgrade *connection*, as an HTTP client does.

    Raises:
        ConnectionError: the server refuses.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /mqtt HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
    )
    reply = b""
    while b"\r\n\r\n" not in reply and len(reply) < LONGEST_REPLY:
        received = connection.recv(1024)
        if not received:
            raise ConnectionError("the websocket upgrade was refused")
        reply += received
