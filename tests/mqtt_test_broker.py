"""A real mosquitto for a pytest session, ready in milliseconds.

Needs pytest and the mosquitto binary (on PATH, in a usual sbin folder, or named by the
environment variable ``MQTT_TEST_MOSQUITTO``). Copy the file into ``tests/`` and import the
fixtures in ``tests/conftest.py``::

    from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker

and use them::

    def test_status(test_mqtt_broker):
        client.connect(**test_mqtt_broker.get_connection_params())

Without pytest's fixtures, the class is a context manager::

    with TestMQTTBroker() as broker:
        client.connect(broker.host, broker.port)

The broker listens on the loopback interface only, on a port of its own, and dies with the
process that started it, whatever kills that. With ``MQTT_TEST_BROKER_URL`` in the environment
(``mqtt://user:password@host:1883``, ``mqtts://...``) the fixtures use that running broker
instead and start nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union
from urllib.parse import unquote, urlsplit

import pytest

_monotonic = time.monotonic  # a test may have frozen the module's

LOG_TAIL_LINES = 20
START_ATTEMPTS = 5
START_TIMEOUT = 10.0
STOP_TIMEOUT = 5.0
POLL_INTERVAL = 0.001

SBIN_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
    "/usr/local/opt/mosquitto/sbin",
    "/home/linuxbrew/.linuxbrew/sbin",
)
INSTALL_COMMANDS = {
    "apt-get": "sudo apt-get install mosquitto",
    "dnf": "sudo dnf install mosquitto",
    "apk": "sudo apk add mosquitto",
    "pacman": "sudo pacman -S mosquitto",
    "brew": "brew install mosquitto",
}


class BrokerError(RuntimeError):
    """A broker that cannot be found, started, reached or used as asked; says the remedy."""


class PortInUseError(BrokerError):
    """A port that another process listens on."""


def find_mosquitto(executable: str | os.PathLike[str] | None = None) -> str:
    """Return the path of the mosquitto binary.

    Looks at *executable*, else at ``MQTT_TEST_MOSQUITTO``, else on PATH and in the folders
    where Debian and Homebrew keep it although they are not on everybody's PATH.

    Raises:
        BrokerError: there is none; the message has the install command for this system.
    """
    named = executable or os.environ.get("MQTT_TEST_MOSQUITTO")
    if named:
        found = shutil.which(named)
        if found is None:
            source = "executable" if executable else "MQTT_TEST_MOSQUITTO"
            raise BrokerError(
                f"{source} names {os.fspath(named)!r}, which is not an executable file. "
                "Give the path of the mosquitto binary, or leave it out to have it searched."
            )
        return found
    search_path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN_FOLDERS])
    found = shutil.which("mosquitto", path=search_path)
    if found is None:
        raise BrokerError(
            f"mosquitto was not found, neither on PATH nor in {', '.join(SBIN_FOLDERS)}. "
            f"Install it with `{_install_command()}`, or set MQTT_TEST_MOSQUITTO to its path."
        )
    return found


def _install_command() -> str:
    for manager, command in INSTALL_COMMANDS.items():
        if shutil.which(manager):
            return command
    return "the package manager of this system (package mosquitto)"


class MQTTEndpoint:
    """The address of a broker and what it takes to get in: what all kinds of broker share."""

    host: str
    port: int
    keepalive = 60

    def __init__(
        self,
        host: str,
        port: int,
        *,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        websockets: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self.ssl_context = ssl_context
        self.websockets = websockets

    def get_connection_params(self) -> dict[str, Any]:
        """Return ``host``, ``port`` and ``keepalive`` (seconds), for ``client.connect(**...)``."""
        return {"host": self.host, "port": self.port, "keepalive": self.keepalive}

    def get_security_params(self) -> dict[str, Any]:
        """Return what a client has to set before it connects; empty for a plain open broker.

        The keys are ``username`` and ``password`` (for ``username_pw_set``), ``ssl_context``
        (for ``tls_set_context``) and ``transport`` (for the constructor).
        """
        params: dict[str, Any] = {}
        if self.username is not None:
            params.update(username=self.username, password=self.password)
        if self.ssl_context is not None:
            params["ssl_context"] = self.ssl_context
        if self.websockets:
            params["transport"] = "websockets"
        return params

    def answers(self, timeout: float = 1.0, client_id: str = "") -> bool:
        """Say whether a CONNECT of *client_id* gets its CONNACK within *timeout* seconds.

        A CONNACK that refuses us is an answer too: a broker that asks for credentials is up.
        """
        try:
            with self._open_socket(timeout) as connection:
                return self._exchange_connect(connection, client_id)
        except OSError:
            return False

    def end_session(self, client_id: str, timeout: float = 5.0) -> None:
        """Have the broker forget the persistent session of *client_id* (within *timeout* s).

        Raises:
            OSError: the broker cannot be reached.
        """
        with self._open_socket(timeout) as connection:
            self._exchange_connect(connection, client_id)
            connection.sendall(self._framed(b"\xe0\x00"))

    def _exchange_connect(self, connection: socket.socket, client_id: str) -> bool:
        packet = _connect_packet(client_id, self.username, self.password)
        connection.sendall(self._framed(packet))
        reply = connection.recv(4)
        return reply[:1] == (b"\x82" if self.websockets else b"\x20")

    def _open_socket(self, timeout: float) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout)
        try:
            if self.ssl_context is not None:
                connection = self.ssl_context.wrap_socket(connection, server_hostname=self.host)
            if self.websockets:
                _upgrade_to_websocket(connection, self.host)
        except OSError:
            connection.close()
            raise
        return connection

    def _framed(self, packet: bytes) -> bytes:
        if not self.websockets:
            return packet
        # One binary frame; an all-zero mask leaves the payload as it is.
        return bytes([0x82, 0x80 | len(packet)]) + bytes(4) + packet


def _connect_packet(client_id: str, username: str | None, password: str | None) -> bytes:
    """Build an MQTT 3.1.1 CONNECT with a clean session."""
    flags = 0x02
    payload = mqtt_string(client_id)
    if username is not None:
        flags |= 0x80
        payload += mqtt_string(username)
        if password is not None:
            flags |= 0x40
            payload += mqtt_string(password)
    body = mqtt_string("MQTT") + bytes([4, flags]) + struct.pack("!H", 10) + payload
    return bytes([0x10]) + mqtt_length(len(body)) + body


def mqtt_string(text: str) -> bytes:
    """Encode a string: two bytes of length, then UTF-8."""
    encoded = text.encode()
    return struct.pack("!H", len(encoded)) + encoded


def mqtt_length(length: int) -> bytes:
    """Encode a packet's remaining length: seven bits a byte, lowest first."""
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def _upgrade_to_websocket(connection: socket.socket, host: str) -> None:
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


class TestMQTTBroker(MQTTEndpoint):
    """A mosquitto of our own: ``with TestMQTTBroker() as broker: connect(broker.port)``.

    Args:
        host: the address to listen on.
        port: the port to listen on; a free one where it is left out.
        username: with *password*, the only credentials that get in; without, anybody does.
        password: see *username*.
        tls: make a certificate authority and a certificate (needs the package trustme);
            ``ssl_context`` is then what a client needs.
        websockets: speak MQTT over websockets on the port instead of plain MQTT.
        executable: the mosquitto binary; searched where it is left out.
        config_lines: further lines for mosquitto.conf.
    """

    __test__ = False  # pytest would collect a class of this name

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        websockets: bool = False,
        executable: str | os.PathLike[str] | None = None,
        config_lines: Iterable[str] = (),
    ) -> None:
        if (username is None) != (password is None):
            raise ValueError("username and password go together: give both or neither")
        if isinstance(config_lines, str):
            raise TypeError("config_lines is a list of lines, not one string: [line, ...]")
        super().__init__(
            host, port or 0, username=username, password=password, websockets=websockets
        )
        self._port_is_ours_to_choose = not port
        self._tls = tls
        self._executable = executable
        self._config_lines = tuple(config_lines)
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: _Guardian | None = None
        self._folder: Path | None = None
        self._earlier_log = ""
        self._ended_on_purpose = True
        _brokers.add(self)

    def __enter__(self) -> TestMQTTBroker:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.is_running() else "not running"
        return f"<{type(self).__name__} {self.host}:{self.port or '?'} {state}>"

    @property
    def pid(self) -> int | None:
        """The process id of mosquitto, or None where it was not started."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """What mosquitto has logged so far, over all its restarts."""
        return self._earlier_log + self._current_log()

    @property
    def log_position(self) -> int:
        """Where the log ends at present, for ``log_since``; cheaper than reading it."""
        current = self._log_file().stat().st_size if self._folder else 0
        return len(self._earlier_log.encode()) + current

    def log_since(self, position: int) -> str:
        """Return what mosquitto has logged since the log was at *position*."""
        return self.log.encode()[position:].decode(errors="replace")

    def start(self) -> None:
        """Start mosquitto and return when it answers; at once where it is running already.

        Raises:
            BrokerError: no binary, a port in use, a broker that does not start; with the end
                of its log.
        """
        __tracebackhide__ = True
        if self.is_running():
            self.resume()  # a test may have left it paused
            return
        self._discard_remains()
        executable = find_mosquitto(self._executable)
        for attempts_left in reversed(range(START_ATTEMPTS)):
            try:
                self._start_once(executable)
                break
            except PortInUseError:
                # Somebody took the port between our choice and mosquitto's bind.
                if not attempts_left or not self._port_is_ours_to_choose:
                    raise
                self.port = 0
        self._ended_on_purpose = False

    def _start_once(self, executable: str) -> None:
        __tracebackhide__ = True
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._discard_remains)
            reservation = _reserve_port(self.host, self.port)
            on_failure.callback(reservation.close)
            self.port = reservation.getsockname()[1]
            self._folder = Path(tempfile.mkdtemp(prefix="mqtt-test-broker-"))
            self._log_file().touch()
            config = self._write_config(self._folder)
            if sys.platform != "linux":
                reservation.close()  # BSD lets nobody bind beside it, mosquitto neither
            self._process = self._spawn(executable, config)
            self._guardian = _Guardian(self._process.pid, self._folder)
            self.wait_for_ready(START_TIMEOUT)
            reservation.close()
            on_failure.pop_all()

    def _spawn(self, executable: str, config: Path) -> subprocess.Popen[bytes]:
        with self._log_file().open("wb") as log:
            try:
                return subprocess.Popen(
                    [executable, "-c", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for pytest, which stops us in order
                )
            except OSError as error:
                raise BrokerError(
                    f"{executable} cannot be run ({error.strerror}). "
                    "Give the path of a mosquitto binary for this machine."
                ) from None

    def stop(self) -> None:
        """Stop mosquitto, wait for its exit and remove its folder; does nothing twice."""
        self._ended_on_purpose = True
        if self._process is not None and self._process.poll() is None:
            self._end_in_order(self._process)
        self._discard_remains()

    def _end_in_order(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # one that is paused could not end
        with contextlib.suppress(OSError):
            # mosquitto blocks signals while it waits for events, for 100 ms: give it an event.
            socket.create_connection((self.host, self.port), STOP_TIMEOUT).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)

    def restart(self) -> None:
        """Stop mosquitto and start it again, empty, on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill mosquitto (SIGKILL), as a crash would: no client is told."""
        self._ended_on_purpose = True
        process = self._require_process("kill")
        process.kill()
        process.wait()

    def pause(self) -> None:
        """Stop mosquitto from answering (SIGSTOP); its connections stay open."""
        self._require_process("pause").send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused mosquitto go on (SIGCONT)."""
        self._require_process("resume").send_signal(signal.SIGCONT)

    def is_running(self) -> bool:
        """Say whether our mosquitto is alive (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    def died(self) -> bool:
        """Say whether mosquitto has ended although nobody here asked it to."""
        return not self._ended_on_purpose and not self.is_running()

    def describe_death(self) -> str:
        """Return mosquitto's exit status and the end of its log, for a report."""
        status = self._process.returncode if self._process else None
        return f"mosquitto ended with status {status}. {self._log_tail()}"

    def wait_for_ready(self, timeout: float = START_TIMEOUT) -> bool:
        """Wait until mosquitto answers a CONNECT, *timeout* seconds at most; return True.

        Raises:
            BrokerError: it was never started, has ended, or does not answer; with its log.
        """
        __tracebackhide__ = True
        deadline = _monotonic() + timeout
        process = self._require_process("wait for")
        client_id = f"ready-{process.pid}"
        # Another broker may answer on the port while ours is about to find that it is taken.
        while not (self.answers(timeout, client_id) and self._has_logged(f" as {client_id} ")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(POLL_INTERVAL)
                raise self._start_error(f"ended with status {status} before it answered")
            if _monotonic() > deadline:
                raise self._start_error(f"does not answer a CONNECT within {timeout:g} s")
        return True

    def _has_logged(self, text: str) -> bool:
        options = {line.split()[0] for line in self._config_lines if line.strip()}
        silenced = options & {"log_type", "log_dest", "connection_messages"}
        return bool(silenced) or text in self._current_log()

    def _start_error(self, what: str) -> BrokerError:
        kind = PortInUseError if "Address already in use" in self._current_log() else BrokerError
        lines = f" Our config_lines: {list(self._config_lines)}." if self._config_lines else ""
        return kind(f"mosquitto on {self.host}:{self.port} {what}.{lines} {self._log_tail()}")

    def _log_tail(self) -> str:
        tail = self.log.splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["The end of its log:", *tail]) if tail else "It has logged nothing."

    def _current_log(self) -> str:
        return self._log_file().read_text(errors="replace") if self._folder else ""

    def _log_file(self) -> Path:
        assert self._folder is not None, "there is no log without a folder"
        return self._folder / "mosquitto.log"

    def _require_process(self, verb: str) -> subprocess.Popen[bytes]:
        __tracebackhide__ = True
        if self._process is None:
            raise BrokerError(f"cannot {verb} a broker that is not started: call start() first")
        return self._process

    def _discard_remains(self) -> None:
        """Forget the process, dead or not, and remove everything that was made for it."""
        self._earlier_log = self.log
        if self._guardian is not None:
            self._guardian.dismiss()
        if self._process is not None:
            self._process.kill()  # does nothing where the exit status is known already
            self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder)
        self._guardian = self._process = self._folder = None

    def _write_config(self, folder: Path) -> Path:
        lines = [
            # mosquitto 2.0 does not start with nothing but a websockets listener.
            *([f"listener 0 {folder / 'plain.sock'}"] if self.websockets else []),
            f"listener {self.port} {self.host}",
            # Without it libwebsockets listens on all interfaces.
            f"socket_domain {'ipv6' if ':' in self.host else 'ipv4'}",
            "persistence false",
            "log_dest stderr",  # at once, where stdout is buffered
            "set_tcp_nodelay true",  # with Nagle a QoS 1 round trip takes 44 ms
            "max_inflight_messages 0",
            "max_queued_messages 0",
            *(["protocol websockets"] if self.websockets else []),
            *_user_lines(folder),
            *self._credential_lines(folder),
            *(self._tls_lines(folder) if self._tls else []),
            *self._config_lines,
        ]
        config = folder / "mosquitto.conf"
        _write_private(config, "\n".join([*lines, ""]))
        _give_to_mosquitto_user(folder)
        return config

    def _credential_lines(self, folder: Path) -> list[str]:
        if self.username is None or self.password is None:
            return ["allow_anonymous true"]
        file = folder / "passwords"
        _write_private(file, f"{self.username}:{_password_hash(self.password)}\n")
        return ["allow_anonymous false", f"password_file {file}"]

    def _tls_lines(self, folder: Path) -> list[str]:
        __tracebackhide__ = True
        try:
            import trustme
        except ImportError:
            raise BrokerError(
                "tls=True needs the package trustme for its certificates: pip install trustme"
            ) from None
        authority = trustme.CA()
        server = authority.issue_cert(self.host, "localhost")
        _write_private(folder / "ca.pem", authority.cert_pem.bytes().decode())
        _write_private(folder / "key.pem", server.private_key_pem.bytes().decode())
        chain = "".join(blob.bytes().decode() for blob in server.cert_chain_pems)
        _write_private(folder / "cert.pem", chain)
        self.ssl_context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        return [f"certfile {folder / 'cert.pem'}", f"keyfile {folder / 'key.pem'}"]


MQTTTestBroker = TestMQTTBroker

_brokers: weakref.WeakSet[TestMQTTBroker] = weakref.WeakSet()


def is_a_test_broker(host: str, port: int) -> bool:
    """Say whether a broker that this process has started listens there."""
    hosts = ("localhost", "127.0.0.1", "::1")
    return any(
        broker.port == port and (host == broker.host or host in hosts)
        for broker in tuple(_brokers)
        if broker.is_running()
    )


def _reserve_port(host: str, port: int) -> socket.socket:
    """Bind *port*, or a free one where it is 0, so that nobody else takes it.

    The socket does not listen: on Linux mosquitto can bind the same port beside it, and in the
    meantime the kernel gives it to nobody else.
    """
    __tracebackhide__ = True
    reservation = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reservation.bind((host, port))
    except OSError as error:
        reservation.close()
        if not port:
            raise BrokerError(f"no port can be had on {host!r}: {error.strerror}.") from None
        raise PortInUseError(
            f"port {port} on {host} cannot be had: {error.strerror}. "
            "Stop what uses it, or leave `port` out to get a free one."
        ) from None
    return reservation


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _user_lines(folder: Path) -> list[str]:
    """Have mosquitto stay root where it could not reach its files as another user."""
    reachable = all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents)
    return [] if os.geteuid() != 0 or reachable else ["user root"]


def _give_to_mosquitto_user(folder: Path) -> None:
    """Started as root, mosquitto becomes another user, who has to read these files."""
    if os.geteuid() != 0:
        return
    import pwd

    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("mosquitto" if "mosquitto" in names else "nobody")
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)


def _password_hash(password: str, iterations: int = 101) -> str:
    """Hash as mosquitto_passwd does: PBKDF2 with SHA-512, in mosquitto's notation."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$7$" + "$".join([str(iterations), *encoded])


class _Guardian:
    """A shell that kills mosquitto and removes its folder when we are gone, whatever killed us.

    It waits on a pipe whose other end only we hold. The kernel closes that end with our death,
    SIGKILL included, which mosquitto itself would survive.
    """

    SCRIPT = 'read -r _ || { kill -KILL "$1"; rm -rf "$2"; }'

    def __init__(self, pid: int, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", self.SCRIPT, "mqtt-test-broker-guardian", str(pid), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _guardians.add(self)

    def dismiss(self) -> None:
        """Send the guardian home: from now on the process id may be somebody else's."""
        self._shell.communicate(b"\n")

    def let_go(self) -> None:
        """Close our end of the pipe in a forked child, which must not keep it open."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()


_guardians: weakref.WeakSet[_Guardian] = weakref.WeakSet()


def _let_go_of_guardians() -> None:
    for guardian in _guardians:
        guardian.let_go()


os.register_at_fork(after_in_child=_let_go_of_guardians)


class ExternalMQTTBroker(MQTTEndpoint):
    """A broker that runs already and belongs to somebody else; from ``MQTT_TEST_BROKER_URL``."""

    DEFAULT_PORTS: Mapping[str, int] = {"mqtt": 1883, "mqtts": 8883}

    pid = None
    log = ""
    log_position = 0

    def __init__(self, url: str) -> None:
        __tracebackhide__ = True
        parts = urlsplit(url)
        if parts.scheme not in self.DEFAULT_PORTS or not parts.hostname:
            # The URL may hold a password: it is not repeated here.
            raise BrokerError(
                "MQTT_TEST_BROKER_URL is not of the form mqtt://[user:password@]host[:port] "
                "or mqtts://... ."
            )
        secure = parts.scheme == "mqtts"
        super().__init__(
            parts.hostname,
            parts.port or self.DEFAULT_PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            ssl_context=ssl.create_default_context() if secure else None,
        )

    def log_since(self, _position: int) -> str:
        """Return nothing: its log is not ours to read."""
        return ""

    def is_running(self) -> bool:
        """Say whether the broker answers."""
        return self.answers()

    def died(self) -> bool:
        """Say False: whether it lives is not ours to judge."""
        return False

    def start(self) -> None:
        """Check that the broker answers, since starting it is not ours.

        Raises:
            BrokerError: it does not.
        """
        self.wait_for_ready()

    def stop(self) -> None:
        """Leave the broker as it is."""

    def wait_for_ready(self, timeout: float = START_TIMEOUT) -> bool:
        """Check that the broker answers within *timeout* seconds; return True.

        Raises:
            BrokerError: it does not.
        """
        __tracebackhide__ = True
        if not self.answers(timeout):
            raise BrokerError(
                f"MQTT connection failed: the broker of MQTT_TEST_BROKER_URL does not answer at "
                f"{self.host}:{self.port}. Check that the test broker is running, or unset the "
                "variable to have one started."
            )
        return True

    def _refuse(self) -> None:
        __tracebackhide__ = True
        raise BrokerError(
            "the broker of MQTT_TEST_BROKER_URL is not ours to stop or pause; "
            "use the fixture isolated_mqtt_broker for a test that does"
        )

    restart = kill = pause = resume = _refuse


# Evaluated at run time, on every Python: the alias is for annotations in users' suites as well.
SessionBroker = Union[TestMQTTBroker, ExternalMQTTBroker]

_brokers_of_test = pytest.StashKey["list[tuple[SessionBroker, int]]"]()


@contextlib.contextmanager
def errors_as_failures() -> Iterator[None]:
    """Turn our errors into failures without a traceback: the message says it all."""
    try:
        yield
    except BrokerError as error:
        pytest.fail(str(error), pytrace=False)


def _note_use(request: pytest.FixtureRequest, broker: SessionBroker) -> None:
    """Remember that a test uses *broker*, for the report should the test fail."""
    used = request.node.stash.setdefault(_brokers_of_test, [])
    used.append((broker, broker.log_position))


@pytest.fixture(scope="session")
def session_mqtt_broker() -> Iterator[SessionBroker]:
    """The broker of this session (of each worker, under pytest-xdist)."""
    url = os.environ.get("MQTT_TEST_BROKER_URL")
    with errors_as_failures():
        broker: SessionBroker = ExternalMQTTBroker(url) if url else TestMQTTBroker()
        broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def live_mqtt_broker(
    request: pytest.FixtureRequest, session_mqtt_broker: SessionBroker
) -> Iterator[SessionBroker]:
    """The session's broker, running at the start of the test whatever the last one did to it."""
    if isinstance(session_mqtt_broker, TestMQTTBroker) and session_mqtt_broker.died():
        title = "mosquitto died between two tests (started again)"
        add_to_summary(request.config, title, session_mqtt_broker.describe_death())
    with errors_as_failures():
        session_mqtt_broker.start()
    _note_use(request, session_mqtt_broker)
    yield session_mqtt_broker
    if isinstance(session_mqtt_broker, TestMQTTBroker) and session_mqtt_broker.died():
        pytest.fail(f"The broker died: {session_mqtt_broker.describe_death()}", pytrace=False)


@pytest.fixture
def test_mqtt_broker(live_mqtt_broker: SessionBroker) -> SessionBroker:
    """The session's broker, under the name that suites use; override it as you like."""
    return live_mqtt_broker


@pytest.fixture
def isolated_mqtt_broker(request: pytest.FixtureRequest) -> Iterator[TestMQTTBroker]:
    """A broker for one test alone: to be killed, paused, or filled with persistent sessions."""
    broker = TestMQTTBroker()
    with errors_as_failures():
        broker.start()
    _note_use(request, broker)
    yield broker
    broker.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add what the broker logged during a failed test to its report."""
    outcome: Any = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for broker, start in item.stash.get(_brokers_of_test, []):
        lines = broker.log_since(start).splitlines()[-LOG_TAIL_LINES:]
        if lines:
            title = f"mosquitto log of {broker.host}:{broker.port}"
            report.sections.append((title, "\n".join(lines)))


_summary_lines = pytest.StashKey["dict[str, list[str]]"]()
_SUMMARY_OUTPUT = "mqtt_test_broker_summary"  # the key under which xdist's workers send theirs


def add_to_summary(config: pytest.Config, title: str, line: str) -> None:
    """Have *line* printed at the end of the run, in the section *title*; once however often."""
    lines = config.stash.setdefault(_summary_lines, {}).setdefault(title, [])
    if line not in lines:
        lines.append(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's summary lines to the process that prints them (pytest-xdist)."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_SUMMARY_OUTPUT] = session.config.stash.get(_summary_lines, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the summary lines of a worker that has finished (pytest-xdist)."""
    for title, lines in getattr(node, "workeroutput", {}).get(_SUMMARY_OUTPUT, {}).items():
        for line in lines:
            add_to_summary(node.config, title, line)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the summary lines of all modules."""
    for title, lines in config.stash.get(_summary_lines, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)


def register_with_pytest(module_name: str) -> None:
    """Make a module that a conftest.py imports a plugin: all its fixtures and hooks count.

    So a conftest.py need not list the fixtures that its fixtures depend on, and a hook of the
    same name in the conftest.py does not replace ours. It is what ``pytest_plugins`` does,
    which pytest allows in the top-most conftest.py only. Does nothing outside pytest.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        manager = frame.f_locals.get("self")
        if isinstance(manager, pytest.PytestPluginManager):
            # What `-p` and `pytest_plugins` name, pytest registers itself, once it is imported.
            if frame.f_locals.get("modname") != module_name:
                _register_once(manager, module_name)
            return


def _register_once(manager: pytest.PytestPluginManager, module_name: str) -> None:
    module = sys.modules[module_name]
    for name, plugin in manager.list_name_plugin():
        if getattr(plugin, "__file__", None) == module.__file__ and plugin is not module:
            raise ImportError(
                f"{module.__file__} is imported under two names, {name} and {module_name}: "
                "its fixtures would exist twice. Import it in the same way everywhere."
            )
    if not manager.has_plugin(module_name):
        manager.register(module, module_name)


register_with_pytest(__name__)
