"""A network of cameras in memory, behind the same functions as the real one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from helpers.camera_detector.network import Endpoint, OnvifDevice

ONVIF_PORT = 80


@dataclass(frozen=True)
class FakeCamera:
    mac: str
    ip: str
    user: str = "admin"
    password: str = "secret"
    onvif: bool = True
    mdns: bool = False
    rtsp_port: int = 554
    manufacturer: str = "Acme"
    model: str = "Dome"
    stream_url: str = ""
    stream_works: bool = True
    in_arp_table: bool = True
    online: bool = True

    @property
    def url(self) -> str:
        return self.stream_url or f"rtsp://{self.ip}:{self.rtsp_port}/stream1"

    def accepts(self, user: str | None, password: str | None) -> bool:
        return (self.user, self.password) == (user, password)


class FakeNetwork:
    """Cameras by their MAC.

    A change replaces the whole mapping. So the service's threads can read it at any time, and
    `probe_stream`, pickled with the network as it is, can be sent to another process.
    """

    SEAMS = ("ws_discovery", "mdns_browse", "rtsp_port_open", "read_arp_table", "probe_stream")

    def __init__(self) -> None:
        self._cameras: Mapping[str, FakeCamera] = {}

    def plug_in(self, mac: str, ip: str, **details: Any) -> None:
        self._cameras = {**self._cameras, mac: FakeCamera(mac, ip, **details)}

    def change(self, mac: str, **details: Any) -> None:
        self._cameras = {**self._cameras, mac: replace(self._cameras[mac], **details)}

    def move(self, mac: str, ip: str) -> None:
        self.change(mac, ip=ip)

    def swap_addresses(self, mac: str, other_mac: str) -> None:
        one, other = self._cameras[mac], self._cameras[other_mac]
        swapped = {mac: replace(one, ip=other.ip), other_mac: replace(other, ip=one.ip)}
        self._cameras = {**self._cameras, **swapped}

    def unplug(self, *macs: str) -> None:
        for mac in macs:
            self.change(mac, online=False)

    def plug_back(self, mac: str) -> None:
        self.change(mac, online=True)

    def remove_all(self) -> None:
        self._cameras = {}

    def _online(self) -> Iterator[FakeCamera]:
        return (camera for camera in self._cameras.values() if camera.online)

    def _at(self, ip: str | None) -> FakeCamera | None:
        return next((camera for camera in self._online() if camera.ip == ip), None)

    def ws_discovery(self) -> list[Endpoint]:
        return [Endpoint(camera.ip, ONVIF_PORT) for camera in self._online() if camera.onvif]

    def mdns_browse(self) -> list[Endpoint]:
        return [Endpoint(camera.ip, camera.rtsp_port) for camera in self._online() if camera.mdns]

    def rtsp_port_open(self, ip: str, port: int, _timeout: float) -> bool:
        camera = self._at(ip)
        return camera is not None and camera.rtsp_port == port

    def read_arp_table(self) -> dict[str, str]:
        return {camera.ip: camera.mac for camera in self._online() if camera.in_arp_table}

    def onvif_camera(self, ip: str, _port: int, user: str, password: str) -> OnvifDevice | None:
        camera = self._at(ip)
        if camera is None or not (camera.onvif and camera.accepts(user, password)):
            return None
        return OnvifDevice(camera.manufacturer, camera.model, camera.url)

    def probe_stream(self, url: str) -> bool:
        parts = urlsplit(url)
        camera = self._at(parts.hostname)
        return (
            camera is not None
            and camera.stream_works
            and camera.rtsp_port == parts.port
            and camera.accepts(unquote(parts.username or ""), unquote(parts.password or ""))
        )
