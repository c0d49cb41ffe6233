"""All that touches the cameras' network, as small functions that a test can replace."""

from __future__ import annotations

import importlib
import logging
import re
import socket
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

logger = logging.getLogger(__name__)

WS_DISCOVERY_GROUP = ("239.255.255.250", 3702)
WS_PROBE = """<?xml version="1.0" encoding="UTF-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"
            xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
            xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"
            xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
  <e:Header>
    <w:MessageID>uuid:{message_id}</w:MessageID>
    <w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
    <w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action>
  </e:Header>
  <e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body>
</e:Envelope>"""
ARP_TABLE = Path("/proc/net/arp")


class Endpoint(NamedTuple):
    ip: str
    port: int


class OnvifDevice(NamedTuple):
    manufacturer: str
    model: str
    stream_url: str


@cache
def _optional_package(name: str) -> Any:
    """The package, or None and one warning: the other ways of searching still work."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        logger.warning("%s, so this way of finding cameras is off", error)
        return None


def ws_discovery(timeout: float = 3.0) -> list[Endpoint]:
    """The ONVIF devices that answer a multicast probe."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(WS_PROBE.format(message_id=uuid.uuid4()).encode(), WS_DISCOVERY_GROUP)
        return [endpoint for reply in _replies(sock, timeout) for endpoint in _xaddrs(reply)]


def _replies(sock: socket.socket, timeout: float) -> Iterator[str]:
    deadline = time.monotonic() + timeout
    while (remaining := deadline - time.monotonic()) > 0:
        sock.settimeout(remaining)
        try:
            yield sock.recv(65535).decode("utf-8", "replace")
        except OSError:  # silence until the deadline
            return


def _xaddrs(reply: str) -> Iterator[Endpoint]:
    for ip, port in re.findall(r"https?://(\d+(?:\.\d+){3})(?::(\d+))?/onvif", reply):
        yield Endpoint(ip, int(port or 80))


def mdns_browse(timeout: float = 3.0) -> list[Endpoint]:
    """The RTSP services that announce themselves by multicast DNS."""
    zeroconf = _optional_package("zeroconf")
    if zeroconf is None:
        return []
    found: list[Endpoint] = []

    def on_change(zeroconf: Any, service_type: str, name: str, **_change: object) -> None:
        info = zeroconf.get_service_info(service_type, name)
        if info:
            found.extend(Endpoint(ip, info.port) for ip in info.parsed_addresses())

    responder = zeroconf.Zeroconf()
    try:
        zeroconf.ServiceBrowser(responder, "_rtsp._tcp.local.", handlers=[on_change])
        time.sleep(timeout)
    finally:
        responder.close()
    return found


def rtsp_port_open(ip: str, port: int, timeout: float) -> bool:
    try:
        with socket.create_connection((ip, port), timeout):
            return True
    except OSError:
        return False


def onvif_camera(ip: str, port: int, user: str, password: str) -> OnvifDevice | None:
    """What the device says of itself, or None if it will not talk to this user."""
    onvif = _optional_package("onvif")
    if onvif is None:
        return None
    try:
        camera = onvif.ONVIFCamera(ip, port, user, password)
        about = camera.devicemgmt.GetDeviceInformation()
        media = camera.create_media_service()
        request = media.create_type("GetStreamUri")
        request.ProfileToken = media.GetProfiles()[0].token
        request.StreamSetup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
        return OnvifDevice(about.Manufacturer, about.Model, media.GetStreamUri(request).Uri)
    except onvif.ONVIFError as error:
        logger.debug("ONVIF device %s:%d refused: %s", ip, port, type(error).__name__)
        return None


def read_arp_table() -> dict[str, str]:
    """The MAC of each IP that this machine has lately talked to (Linux only)."""
    if not ARP_TABLE.exists():
        return {}
    rows = (line.split() for line in ARP_TABLE.read_text().splitlines()[1:])
    return {row[0]: row[3] for row in rows if row[3] != "00:00:00:00:00:00"}


def probe_stream(url: str, timeout: float = 5.0) -> bool:
    """Whether the RTSP server describes this stream to this user (Basic authentication)."""
    parts = urlsplit(url)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    port = parts.port or 554
    request = (
        f"DESCRIBE rtsp://{parts.hostname}:{port}{parts.path} RTSP/1.0\r\nCSeq: 1\r\n"
        f"Authorization: Basic {b64encode(login.encode()).decode()}\r\n\r\n"
    )
    try:
        with socket.create_connection((parts.hostname or "", port), timeout) as sock:
            sock.sendall(request.encode())
            return sock.recv(64).startswith(b"RTSP/1.0 200")
    except OSError:
        return False
