"""What mosquitto.conf says, and the files that it names."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import pwd
import ssl
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..originals import os
from ..wire.endpoint import MQTTEndpoint
from .errors import BrokerError
from .folder import write_private

SPARE_HOST = "127.0.0.1"


class Config:
    """The mosquitto.conf of a broker, and the files that it names."""

    def __init__(
        self, endpoint: MQTTEndpoint, lines: Sequence[str], *, tls: bool, client_certificate: bool
    ) -> None:
        __tracebackhide__ = True
        if client_certificate and not tls:
            raise ValueError("require_client_certificate needs tls=True")
        for line, why in _open_listeners(lines):
            raise ValueError(f"config_lines has {line!r}, which {why}")
        self.endpoint = endpoint
        self.lines = lines
        self.tls = tls
        self.client_certificate = client_certificate
        self._certificates: dict[str, str] = {}

    def sets(self, *options: str) -> bool:
        """Return whether a line of the user's sets one of *options*."""
        return any(line.split()[:1] == [option] for line in self.lines for option in options)

    def client_files(self, folder: Path) -> dict[str, str]:
        """Return the files that a client needs for ``tls_set(**...)``."""
        files = {"ca_certs": "ca.pem"} if self.tls else {}
        if self.client_certificate:
            files.update(certfile="client.pem", keyfile="client-key.pem")
        return {name: str(folder / file) for name, file in files.items()}

    def write(self, folder: Path, spare_port: int) -> Path:
        """Write all files to *folder*; return that of the configuration.

        *spare_port* is for a second listener, since mosquitto 2.0 does not start with websockets
        alone. A Unix socket takes no path that is long or has a space in it.
        """
        config = folder / "mosquitto.conf"
        endpoint = self.endpoint
        tls_lines = self._tls_lines(folder) if self.tls else []
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
        write_private(config, "\n".join([*lines, ""]))
        return config

    def _credential_lines(self, folder: Path) -> list[str]:
        username, password = self.endpoint.username, self.endpoint.password
        if username is None or password is None:
            return ["allow_anonymous true"]
        file = folder / "passwords"
        write_private(file, f"{username}:{_password_hash(password)}\n")
        return ["allow_anonymous false", f"password_file {file}"]

    def _tls_lines(self, folder: Path) -> list[str]:
        __tracebackhide__ = True
        if not self._certificates:
            self._certificates = _issue_certificates(self.endpoint.host)
        for name, text in self._certificates.items():
            write_private(folder / name, text)
        if self.endpoint.ssl_context is None:
            context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            if self.client_certificate:
                context.load_cert_chain(folder / "client.pem", folder / "client-key.pem")
            self.endpoint.ssl_context = context
        lines = [f"certfile {folder / 'server.pem'}", f"keyfile {folder / 'server-key.pem'}"]
        if self.client_certificate:
            lines += [f"cafile {folder / 'ca.pem'}", "require_certificate true"]
        return lines


def _open_listeners(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give the lines that would listen on all interfaces unasked, each with why and the remedy."""
    listeners: list[list[str]] = [[]]  # the first one is ours
    for line in lines:
        name, *values = line.split() or [""]
        if "\n" in line.strip("\n"):
            yield line, "is more than one line: part it"
        if name == "port":
            yield line, "may listen anywhere: give `listener PORT ADDRESS`"
        if name == "include_dir":
            yield line, "may listen anywhere: give its lines"
        if name == "listener":
            listeners.append([])
            if len(values) < 2:
                example = f"`listener {values[0] if values else 'PORT'} 127.0.0.1`"
                yield line, f"listens on all interfaces: name an address, as in {example}"
        listeners[-1].append(" ".join([name, *values]))
    for line, *settings in listeners[1:]:
        has_domain = any(setting.startswith("socket_domain ") for setting in settings)
        if "protocol websockets" in settings and not has_domain:
            why = "listens on all interfaces with websockets, whatever its address"
            yield line, f"{why}: add `socket_domain ipv4` (or ipv6)"


def _issue_certificates(host: str) -> dict[str, str]:
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


def _user_lines(folder: Path) -> list[str]:
    """Give the files to the user that mosquitto becomes, or let it stay root to reach them."""
    if os.geteuid() != 0:
        return []
    if not all(os.stat(parent).st_mode & stat.S_IXOTH for parent in folder.parents):
        return ["user root"]
    # The root of a container may not be allowed to, and mosquitto not to become another user.
    with contextlib.suppress(OSError):
        for name in ("", *os.listdir(folder)):
            os.chown(folder / name, _mosquitto_user(), -1)
    return []


def _mosquitto_user() -> int:
    """Return the id of the user that mosquitto becomes where root starts it."""
    for name in ("mosquitto", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    return 0


def _password_hash(password: str, iterations: int = 101) -> str:
    """Hash as mosquitto_passwd does: PBKDF2 with SHA-512, in mosquitto's notation."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$7$" + "$".join([str(iterations), *encoded])
