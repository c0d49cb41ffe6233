"""A camera, and how it is described to others."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .config import Credentials


def mask_credentials(text: str) -> str:
    """The text fit for a log or a message: no user or password in any URL in it."""
    return re.sub(r"(?<=://)\S*@", "***:***@", text)


def with_credentials(url: str, credentials: Credentials) -> str:
    """The URL with this user and password, in place of any that it had."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, password = (quote(part, safe="") for part in credentials)
    return f"{scheme}://{user}:{password}@{authority.rpartition('@')[2]}{slash}{path}"


@dataclass
class Camera:
    """One camera; its id is its MAC, or its IP where the MAC is not known."""

    id: str
    ip: str
    mac: str | None
    method: str
    url: str = field(repr=False)
    credentials: Credentials = field(repr=False)
    manufacturer: str = "unknown"
    model: str = "unknown"
    online: bool = True
    last_seen: float = field(default_factory=time.time)

    @property
    def stream_url(self) -> str:
        return with_credentials(self.url, self.credentials)

    @property
    def frigate_name(self) -> str:
        """Frigate's names are keys and parts of paths: letters, digits and underscores."""
        return re.sub(r"[^a-z0-9]+", "_", f"{self.model}_{self.id}".lower()).strip("_")

    def as_message(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "ip": self.ip,
            "mac": self.mac,
            "method": self.method,
            "manufacturer": self.manufacturer,
            "model": self.model,
            "stream": mask_credentials(self.url),
            "online": self.online,
        }

    def as_frigate(self) -> dict[str, Any]:
        inputs = [{"path": self.stream_url, "roles": ["detect", "record"]}]
        return {"enabled": self.online, "ffmpeg": {"inputs": inputs}}
