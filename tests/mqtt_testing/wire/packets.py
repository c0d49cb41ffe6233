"""MQTT control packets: built, taken from a stream, and PUBLISH decoded."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

from ..originals import socket

LONGEST_TOPIC = 200
"""Characters of a topic that reports show."""

DISCONNECT = b"\xe0\x00"
PINGREQ = b"\xc0\x00"


class SecretPacket(bytes):
    """A packet with a password in it."""

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
    encoded = bytearray([length & 127])
    while length >= 128:
        encoded[-1] |= 0x80
        length >>= 7
        encoded.append(length & 127)
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


class MalformedPacketError(ValueError):
    """Bytes that are no MQTT packet."""


class MQTTMessage(NamedTuple):
    """A message as it was published: with the retain flag and the QoS of its publisher."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Any = None  # of MQTT 5, as paho has them

    def json(self) -> Any:
        """Return the payload decoded as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.payload)

    def __str__(self) -> str:
        flags = f"QoS {self.qos}, retained" if self.retain else f"QoS {self.qos}"
        payload = repr(self.payload[:80]) + ("..." if len(self.payload) > 80 else "")
        return f"{printable(self.topic, LONGEST_TOPIC)}: {payload} ({flags})"


def printable(text: str, longest: int) -> str:
    """Return *text* in short, with what a terminal would obey or not show escaped."""
    short = f"{text[:longest]}..." if len(text) > longest else text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def publish_packet(
    topic: str, payload: bytes = b"", *, retain: bool = False, mqtt_5: bool
) -> bytes:
    """Build a PUBLISH of QoS 0 in MQTT 3.1.1, or in MQTT 5 without properties."""
    no_properties = b"\x00" if mqtt_5 else b""
    body = mqtt_string(topic) + no_properties + payload
    return (b"\x31" if retain else b"\x30") + mqtt_length(len(body)) + body


def take_packets(received: bytearray) -> Iterator[tuple[int, bytearray]]:
    """Take the packets that are complete from *received*: the first byte of each, and its body.

    Raises:
        MalformedPacketError: a length that MQTT does not have.
    """
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
                raise MalformedPacketError("a length of more than four bytes")
            if start + length > len(received):
                return
            flags, taken = received[taken], start + length
            yield flags, received[start:taken]
    finally:
        del received[:taken]


def decode_publish(
    flags: int, packet: bytearray, unpack_properties: Callable[[bytes], tuple[Any, int]] | None
) -> tuple[MQTTMessage, int]:
    """Return what a PUBLISH says, and its message id; 0 for QoS 0.

    Args:
        flags: the packet's first byte.
        packet: what follows the packet's length.
        unpack_properties: for MQTT 5, returns the properties with which bytes begin, and
            how many bytes they take.
    """
    qos = flags >> 1 & 3
    position = 2 + int.from_bytes(packet[:2], "big")
    topic = str(packet[2:position], "utf-8", "replace")
    mid = 0
    if qos:
        mid, position = int.from_bytes(packet[position:][:2], "big"), position + 2
    properties: Any = None
    if unpack_properties is not None:
        if packet[position]:  # rarely there, and slow to unpack
            properties, length = unpack_properties(bytes(packet[position:]))
            position += length
        else:
            position += 1
    payload = bytes(memoryview(packet)[position:])
    return MQTTMessage(topic, payload, qos, bool(flags & 1), properties), mid
