"""Leads the connections of plain sockets and event loops, whatever library opens them."""

from __future__ import annotations

import contextlib
import functools
import socket as replaced_in
from collections.abc import Collection, Iterator
from typing import Any, Callable

import pytest

from ..originals import select, socket
from ..wire.endpoint import MQTTEndpoint
from ..wire.own_connections import are_left_alone, left_alone


class SocketLeader:
    """Leads connections where they are opened, and names where they are looked up.

    That reaches ``socket.create_connection()`` and what event loops of asyncio open, since these
    end in ``socket.connect()``. A host is led by its name as it is looked up, for it may not exist.
    """

    def endpoint_for(self, host: str, port: int) -> MQTTEndpoint | None:
        """Return where a connection to *host* and *port* is led to; None where it is not."""
        raise NotImplementedError

    def passed_over(self, host: str, port: int, addresses: Collection[str] = ()) -> None:
        """Called when a host is connected to, or was looked up, that is not led."""

    def opening(self, connection: socket.socket, host: str, port: int) -> None:
        """Called when *connection* is about to be opened, to where it is led."""

    @contextlib.contextmanager
    def leading_sockets(self) -> Iterator[None]:
        """Lead connections from here to the end of the ``with`` block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("connect", "connect_ex"):
                method = getattr(socket.socket, name)
                patch.setattr(socket.socket, name, self._around_connect(method))
            look_up = self._around_lookup(replaced_in.getaddrinfo)
            patch.setattr(replaced_in, "getaddrinfo", look_up)
            yield

    def _around_connect(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def connect(connection: socket.socket, address: Any, /) -> Any:
            if not _is_for_tcp(connection.family, connection.type) or not _has_port(address):
                return method(connection, address)
            endpoint = self._endpoint_at(*address[:2])
            if endpoint is None:
                self.passed_over(*address[:2])
            else:
                address = _address_for(connection, endpoint)
            self.opening(connection, *address[:2])
            return method(connection, address)

        return connect

    def _endpoint_at(self, host: str, port: int) -> MQTTEndpoint | None:
        with left_alone():  # the broker may be started
            return self.endpoint_for(host, port)

    def _around_lookup(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def getaddrinfo(
            host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
        ) -> Any:
            number = int(port) if str(port).isdecimal() else port
            is_for_server = flags & socket.AI_PASSIVE
            if is_for_server or not _is_for_tcp(family, type) or not _has_port((host, number)):
                return function(host, port, family, type, proto, flags)
            endpoint = self._endpoint_at(host, number)
            if endpoint is not None:
                return _look_up(function, endpoint, family, type or socket.SOCK_STREAM, flags)
            found: list[Any] = []
            try:
                found = function(host, port, family, type, proto, flags)
            finally:
                self.passed_over(host, number, {entry[4][0] for entry in found})
            return found

        return getaddrinfo


def _is_for_tcp(family: int, kind: int) -> bool:
    return kind in (0, socket.SOCK_STREAM) and family in (0, socket.AF_INET, socket.AF_INET6)


def _has_port(address: Any) -> bool:
    """Return whether *address* has a host and a port, and is not to be left alone."""
    is_address = isinstance(address, tuple) and len(address) > 1
    is_plain = is_address and isinstance(address[0], str) and isinstance(address[1], int)
    return is_plain and not are_left_alone()


def _address_for(connection: socket.socket, endpoint: MQTTEndpoint) -> Any:
    found = _look_up(socket.getaddrinfo, endpoint, connection.family, socket.SOCK_STREAM, 0)
    return found[0][4]


def _look_up(
    function: Callable[..., Any], endpoint: MQTTEndpoint, family: int, kind: int, flags: int
) -> Any:
    """Look *endpoint* up, which a socket for IPv6 can reach at an address of IPv4, too."""
    if family == socket.AF_INET6:
        flags |= socket.AI_V4MAPPED
    return function(endpoint.host, endpoint.port, family, kind, 0, flags)


def is_connection_open(connection: Any) -> bool:
    """Return whether the other end of *connection* is there; None is not open."""
    poll = select.poll()
    try:
        poll.register(connection, getattr(select, "POLLRDHUP", select.POLLHUP))
    except (TypeError, ValueError, OSError):  # there is none, or it is closed this very moment
        return False
    return not poll.poll(0)
