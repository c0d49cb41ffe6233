"""The client of the shared connection, which reads and writes faster than paho's own."""

from __future__ import annotations

import struct
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import MalformedPacket, Properties  # type: ignore[attr-defined]

from ..originals import threading
from ..wire.packets import MalformedPacketError, decode_publish, take_packets
from .network_loop import wake_up_of
from .paho_internals import UnheardClient, wake_network_loop

RETRY_DELAY = 0.01
"""Seconds after which the shared connection is tried again that has broken."""

RECEIVE_SIZE = 65536
"""Bytes that the shared connection takes at a time."""

LARGEST_PACKET = 2**28 + 4
"""Bytes that a packet of MQTT can have at most."""


class ObservingClient(UnheardClient):
    """Hands messages over as they arrive, as MQTTMessage, and sends without a detour.

    With QoS 2, paho waits for the end of the handshake, which is right where a message must come
    once only. To know what the broker retains takes the order of the broker. paho also takes much
    longer to decode a message, and every test has some.
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
        wake_up_of(threading.current_thread()).wait(RETRY_DELAY)

    def _packet_queue(self, command: int, packet: Any, mid: int, qos: int, info: Any = None) -> Any:
        """Send from this thread: to wake the network loop for it takes longer than that."""
        queued = {"command": command, "mid": mid, "qos": qos, "packet": packet, "info": info}
        out: Any = {**queued, "pos": 0, "to_process": len(packet)}
        self._out_packet.append(out)
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
        except (MalformedPacket, MalformedPacketError, IndexError, struct.error):
            return mqtt.MQTT_ERR_PROTOCOL

    def _handle_packets(self) -> Any:
        for flags, packet in take_packets(self._received):
            read = {"command": flags, "packet": packet, "remaining_length": len(packet)}
            self._in_packet.update(read)  # type: ignore[typeddict-item]
            error = self._packet_handle()
            if error:
                return error
        return mqtt.MQTT_ERR_SUCCESS

    def _handle_publish(self) -> Any:
        unpack = _unpack_properties if self._protocol == mqtt.MQTTv5 else None
        flags, packet = self._in_packet["command"], self._in_packet["packet"]
        message, mid = decode_publish(flags, packet, unpack)
        on_message: Any = self.on_message
        if on_message is not None:  # as it is once the connection is being ended
            on_message(message)
        if message.qos == 0:
            return mqtt.MQTT_ERR_SUCCESS
        return self._send_puback(mid) if message.qos == 1 else self._send_pubrec(mid)


def _unpack_properties(packed: bytes) -> tuple[Any, int]:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    _, length = properties.unpack(packed)  # type: ignore[no-untyped-call]
    return properties, length
