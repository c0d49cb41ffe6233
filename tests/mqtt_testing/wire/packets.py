"""MQTT control packets: encoding, and the little decoding that a check takes."""

from __future__ import annotations

import socket
import struct


class SecretPacket(bytes):
    """A packet with a password in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<CONNECT>"


def connect_packet(
    client_id: str, username: str | None, password: str | None, *, mqtt_5: bool = False
) -> bytes:
    """Build a CONNECT of MQTT 3.1.1, or of MQTT 5, with a clean session."""
    flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    fields = [client_id, username, password]
    payload = b"".join(mqtt_string(field) for field in fields if field is not None)
    no_properties = b"\x00" if mqtt_5 else b""
    head = mqtt_string("MQTT") + bytes([5 if mqtt_5 else 4, flags]) + struct.pack("!H", 10)
    body = head + no_properties + payload
    return SecretPacket(bytes([0x10]) + mqtt_length(len(body)) + body)


def mqtt_string(text: str) -> bytes:
    """Encode a string: two bytes of length, then UTF-8."""
    encoded = text.encode()
    return struct.pack("!H", len(encoded)) + encoded


def mqtt_length(length: int) -> bytes:
    """Encode a packet's remaining length: seven bits a byte, lowest first."""
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def receive(connection: socket.socket, length: int) -> bytes:
    """Receive so many bytes, or fewer where the stream ends before."""
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        if not more:
            break
        received += more
    return received
