"""The upgrade of a connection to a websocket."""

from __future__ import annotations

import base64
import os
import socket


def upgrade_to_websocket(connection: socket.socket, host: str) -> None:
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
    while b"\r\n\r\n" not in reply:
        received = connection.recv(1024)
        if not received:
            raise ConnectionError("the websocket upgrade was refused")
        reply += received
