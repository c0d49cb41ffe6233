"""What mosquitto.conf says, and the files that it names."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pwd
import ssl
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..wire.endpoint import MQTTEndpoint
from .certificates import issue_certificates
from .folder import write_private

SPARE_HOST = "127.0.0.1"


class Config:
    """The mosquitto.conf of a broker, and the files that it names."""

    def __init__(
        self,
        endpoint: MQTTEndpoint,
        *,
        tls: bool,
        require_client_certificate: bool,
        lines: Iterable[str],
    ) -> None:
        if require_client_certificate and not tls:
            raise ValueError("require_client_certificate needs tls=True")
        if isinstance(lines, str):
            raise TypeError("config_lines is a list of lines, not one string: [line, ...]")
        self.lines = tuple(lines)
        refuse_open_listeners(self.lines)
        self._endpoint = endpoint
        self._tls = tls
        self._require_client_certificate = require_client_certificate
        self._certificates: dict[str, str] = {}

    @property
    def options(self) -> set[str]:
        """The names of the options that the user's lines set."""
        return {line.split()[0] for line in self.lines if line.strip()}

    def client_files(self, folder: Path) -> dict[str, str]:
        """Return the files that a client needs for ``tls_set(**...)``."""
        if not self._certificates:
            return {}
        files = {"ca_certs": "ca.pem"}
        if self._require_client_certificate:
            files.update(certfile="client.pem", keyfile="client-key.pem")
        return {name: str(folder / file) for name, file in files.items()}

    def write(self, folder: Path, spare_port: int) -> Path:
        """Write all files to *folder*; return that of the configuration.

        Args:
            folder: where they go.
            spare_port: for a second listener, since mosquitto 2.0 does not start with websockets
                alone. A Unix socket takes no path that is long or has a space in it.
        """
        config = folder / "mosquitto.conf"
        config.touch(mode=0o600)
        endpoint = self._endpoint
        tls_lines = self._tls_lines(folder) if self._tls else []
        spare_lines = [f"listener {spare_port} {SPARE_HOST}", *tls_lines]
        lines = [
            *(spare_lines if endpoint.websockets else []),
            f"listener {endpoint.port} {endpoint.host}",
            # Without it libwebsockets listens on all interfaces.
            f"socket_domain {'ipv6' if ':' in endpoint.host else 'ipv4'}",
            "persistence false",
            "log_dest stderr",  # at once, where stdout is buffered
            "set_tcp_nodelay true",  # with Nagle a QoS 1 round trip takes 44 ms
            "max_inflight_messages 0",
            "max_queued_messages 0",
            *(["protocol websockets"] if endpoint.websockets else []),
            *self._credential_lines(folder),
            *tls_lines,
            *_user_lines(folder),
            *self.lines,
        ]
        config.write_text("\n".join([*lines, ""]))
        return config

    def _credential_lines(self, folder: Path) -> list[str]:
        username, password = self._endpoint.username, self._endpoint.password
        if username is None or password is None:
            return ["allow_anonymous true"]
        file = folder / "passwords"
        write_private(file, f"{username}:{_password_hash(password)}\n")
        return ["allow_anonymous false", f"password_file {file}"]

    def _tls_lines(self, folder: Path) -> list[str]:
        __tracebackhide__ = True
        if not self._certificates:
            self._certificates = issue_certificates(self._endpoint.host)
        for name, text in self._certificates.items():
            write_private(folder / name, text)
        if self._endpoint.ssl_context is None:
            context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            if self._require_client_certificate:
                context.load_cert_chain(folder / "client.pem", folder / "client-key.pem")
            self._endpoint.ssl_context = context
        lines = [f"certfile {folder / 'server.pem'}", f"keyfile {folder / 'server-key.pem'}"]
        if self._require_client_certificate:
            lines += [f"cafile {folder / 'ca.pem'}", "require_certificate true"]
        return lines


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


def _user_lines(folder: Path) -> list[str]:
    """Give the files to the user that mosquitto becomes, or have it stay root to reach them."""
    if os.geteuid() != 0:
        return []
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents):
        # The root of a container may not be allowed to, and mosquitto not to become another user.
        with contextlib.suppress(OSError):
            for path in (folder, *folder.iterdir()):
                os.chown(path, _mosquitto_user(), -1)
            return []
    return ["user root"]


def _mosquitto_user() -> int:
    """Return the id of the user that mosquitto becomes where we start it."""
    if os.geteuid() == 0:
        for name in ("mosquitto", "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name).pw_uid
    return os.geteuid()


def _password_hash(password: str, iterations: int = 101) -> str:
    """Hash as mosquitto_passwd does: PBKDF2 with SHA-512, in mosquitto's notation."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$7$" + "$".join([str(iterations), *encoded])
