"""Which device is at which address: cameras change their IP, hardly ever their MAC."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping

logger = logging.getLogger(__name__)


def normalise_mac(mac: str) -> str | None:
    """The MAC in lower case with colons, whoever spelled it; None if it is no MAC."""
    digits = re.sub(r"[-:.]", "", mac.lower())
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        return None
    return ":".join(re.findall("..", digits))


class MacTracker:
    """Remembers what the ARP table said, since its entries expire while the device is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mac_by_ip: dict[str, str] = {}
        self._ip_by_mac: dict[str, str] = {}

    def refresh(self, arp_table: Mapping[str, str]) -> None:
        for ip, spelled_mac in arp_table.items():
            mac = normalise_mac(spelled_mac)
            if mac:
                self.update(ip, mac)
            else:
                logger.warning("ARP entry of %s ignored: %r is no MAC", ip, spelled_mac)

    def update(self, ip: str, mac: str) -> None:
        with self._lock:
            old_ip = self._ip_by_mac.get(mac)
            # Somebody else may have taken over the old address by now.
            if old_ip and self._mac_by_ip.get(old_ip) == mac:
                del self._mac_by_ip[old_ip]
            self._mac_by_ip[ip] = mac
            self._ip_by_mac[mac] = ip

    def mac_of(self, ip: str) -> str | None:
        with self._lock:
            return self._mac_by_ip.get(ip)

    def ip_of(self, mac: str) -> str | None:
        with self._lock:
            return self._ip_by_mac.get(mac)
