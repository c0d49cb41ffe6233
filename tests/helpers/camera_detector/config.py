"""Settings of the camera detector, all of them from the environment, as containers have it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Credentials = tuple[str, str]

LARGEST_SCAN = 4096
"""Addresses in one network. A mistyped prefix length would otherwise scan for days."""


def _setting(name: str, default: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(os.environ.get(name, default).strip())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _required(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _flag(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off", ""):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.lstrip("-").isdecimal():
            raise ValueError(f"{text!r} is not a whole number")
        if not low <= int(text) <= high:
            raise ValueError(f"{text} is not between {low} and {high}")
        return int(text)

    return parse


_port = _number(1, 65535)
_processes = _number(0, 16)
_threads = _number(1, 64)
_seconds = _number(1, 86400)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _ports(text: str) -> list[int]:
    return [_port(item) for item in _items(text)]


def _credentials(text: str) -> list[Credentials]:
    """Pairs from "user:password,user2:password2"; a password may contain colons."""
    pairs = []
    for position, item in enumerate(_items(text), start=1):
        user, colon, password = item.partition(":")
        if not (user and colon):
            # By position: the text itself may well be a password.
            raise ValueError(f"entry {position} is not of the form user:password")
        pairs.append((user, password))
    return pairs


def _networks(text: str) -> list[ipaddress.IPv4Network]:
    networks = [ipaddress.IPv4Network(item) for item in _items(text)]
    for network in networks:
        if network.num_addresses > LARGEST_SCAN:
            raise ValueError(f"{network} has more than {LARGEST_SCAN} addresses")
    return networks


class Config:
    """Raises `ValueError`, with the variable's name, for whatever cannot be right."""

    def __init__(self) -> None:
        self.mqtt_broker = _setting("MQTT_BROKER", "localhost", _required)
        self.mqtt_port = _setting("MQTT_PORT", "1883", _port)
        self.mqtt_tls = _setting("MQTT_TLS", "false", _flag)
        self.mqtt_username = _setting("MQTT_USERNAME", "", str)
        self.mqtt_password = _setting("MQTT_PASSWORD", "", str)
        self.camera_credentials = _setting("CAMERA_CREDENTIALS", "", _credentials)
        self.discovery_interval = _setting("DISCOVERY_INTERVAL", "300", _seconds)
        self.health_check_interval = _setting("HEALTH_CHECK_INTERVAL", "60", _seconds)
        self.offline_threshold = _setting("OFFLINE_THRESHOLD", "180", _seconds)
        self.rtsp_ports = _setting("RTSP_PORTS", "554,8554", _ports)
        self.scan_networks = _setting("SCAN_NETWORKS", "192.168.1.0/24", _networks)
        self.scan_workers = _setting("SCAN_WORKERS", "16", _threads)
        self.validation_processes = _setting("VALIDATION_PROCESSES", "1", _processes)
        self.frigate_topic = _setting("FRIGATE_TOPIC", "frigate/config/cameras", _required)
