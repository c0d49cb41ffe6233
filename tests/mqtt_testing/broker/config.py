"""What mosquitto.conf says, and the files that it names."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Sequence
from pathlib import Path

from .errors import BrokerError

SPARE_HOST = "127.0.0.1"

PID_FILE = "mosquitto.pid"


def refuse_open_listeners(config_lines: Sequence[str]) -> None:
    """Refuse what would listen on all interfaces without having been told to."""
    __tracebackhide__ = True

    def refuse(line: str, why: str) -> None:
        __tracebackhide__ = True
        raise ValueError(f"config_lines has {line!r}, which {why}")

    listeners: dict[str, set[str]] = {}
    settings: set[str] = set()  # of the listener that a line belongs to
    for line in config_lines:
        name, *values = line.split() or [""]
        if "\n" in line.strip("\n"):
            refuse(line, "is more than one line: part it")
        if name == "port":
            refuse(line, "may listen anywhere: give `listener PORT ADDRESS`")
        if name == "include_dir":
            refuse(line, "may listen anywhere: give its lines")
        if name == "listener":
            if len(values) < 2:
                example = f"`listener {values[0] if values else 'PORT'} 127.0.0.1`"
                refuse(line, f"listens on all interfaces: name an address, as in {example}")
            settings = listeners.setdefault(line, set())
        settings.add(" ".join([name, *values]) if name == "protocol" else name)
    for line, settings in listeners.items():
        if "protocol websockets" in settings and "socket_domain" not in settings:
            refuse(
                line,
                "listens on all interfaces with websockets, whatever its address: "
                "add `socket_domain ipv4` (or ipv6)",
            )


def user_lines(folder: Path) -> list[str]:
    """Give the files to the user that mosquitto becomes, or have it stay root to reach them."""
    if os.geteuid() != 0:
        return []
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents):
        # The root of a container may not be allowed to, and mosquitto not to become another user.
        with contextlib.suppress(OSError):
            for path in (folder, *folder.iterdir()):
                os.chown(path, mosquitto_user(), -1)
            return []
    return ["user root"]


def mosquitto_user() -> int:
    """Return the id of the user that mosquitto becomes where we start it."""
    if os.geteuid() == 0:
        for name in ("mosquitto", "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name).pw_uid
    return os.geteuid()


def password_hash(password: str, iterations: int = 101) -> str:
    """Hash as mosquitto_passwd does: PBKDF2 with SHA-512, in mosquitto's notation."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$7$" + "$".join([str(iterations), *encoded])


def issue_certificates(host: str) -> dict[str, str]:
    """Make an authority, and what it issues to the broker and its clients; by file name."""
    __tracebackhide__ = True
    try:
        import trustme
    except ImportError:
        raise BrokerError(
            "tls=True needs the package trustme for its certificates: pip install trustme"
        ) from None
    authority = trustme.CA()
    files = {"ca.pem": authority.cert_pem.bytes().decode()}
    for owner, names in {"server": (host, "localhost"), "client": ("client@mqtt.test",)}.items():
        issued = authority.issue_cert(*names)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        files[f"{owner}.pem"] = chain.decode()
        files[f"{owner}-key.pem"] = issued.private_key_pem.bytes().decode()
    return files
