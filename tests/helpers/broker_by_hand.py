"""What it takes to start a broker by hand."""

from __future__ import annotations

import os
import shutil
import socket


def find_mosquitto() -> str:
    directories = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    )
    binary = os.environ.get("MQTT_TEST_MOSQUITTO") or shutil.which("mosquitto", path=directories)
    assert binary, "mosquitto is not installed"
    return binary


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
