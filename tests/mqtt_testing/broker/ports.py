"""Ports that no other process takes before mosquitto does."""

from __future__ import annotations

import socket

from .errors import BrokerError, PortInUseError


def reserve_port(host: str, port: int) -> socket.socket:
    """Bind *port*, or a free one where it is 0, so that nobody else takes it.

    The socket does not listen: on Linux mosquitto can bind the same port beside it, and in the
    meantime, and between two starts, the kernel gives it to nobody else.
    """
    __tracebackhide__ = True
    reservation = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reservation.bind((host, port))
    except OSError as error:
        reservation.close()
        if not port:
            raise BrokerError(f"no port can be had on {host!r}: {error.strerror}.") from None
        raise PortInUseError(
            f"port {port} on {host} cannot be had: {error.strerror}. "
            "Stop what uses it, or leave `port` out to get a free one."
        ) from None
    return reservation
