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
process that started it, whatever kills that. What can happen to a broker can be done to it:
``kill``, ``stop``, ``restart``, ``pause``, ``disconnect_clients``; the next test finds it running
again. With ``MQTT_TEST_BROKER_URL`` in the environment
(``mqtt://user:password@host:1883``, ``mqtts://...``) the fixtures use that running broker
instead and start nothing.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import pwd
import re
import select
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
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pytest

# A test may have frozen the clock; freezegun does so in all modules that have one of its functions.
_monotonic = functools.partial(time.monotonic)
_Popen = subprocess.Popen  # and have a mock in its place

LOG_TAIL_LINES = 20
START_ATTEMPTS = 5
START_TIMEOUT = 10.0
STOP_TIMEOUT = 5.0
POLL_INTERVAL = 0.001
OLDEST_VERSION = (2, 0)

SPARE_HOST = "127.0.0.1"
FOLDER_PREFIX = "mqtt-test-mosquitto-"
PID_FILE = "mosquitto.pid"
OBSERVER_ID_PREFIX = "mqtt-test-observer-"
"""Begins the client ids of connections that watch the broker for the tests, and belong to none."""
READY_ID_PREFIX = "ready-"

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


_REMEDIES = {
    "Free some space there, or set TMPDIR to a folder elsewhere.": ("ENOSPC", "EDQUOT"),
    "Raise the limit of a file's size (`ulimit -f`).": ("EFBIG",),
    "Raise the limit (`ulimit -n`), or look for what leaves files or connections open.": (
        "EMFILE",
        "ENFILE",
    ),
    "Raise the limit of processes (`ulimit -u`), or end some.": ("EAGAIN",),
    "Set TMPDIR to a folder that can be written to.": ("EACCES", "EPERM", "EROFS", "ENOENT"),
}


@contextlib.contextmanager
def _remedies() -> Iterator[None]:
    """Say what can be done about what the system refuses to a broker that starts."""
    __tracebackhide__ = True
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        name = errno.errorcode.get(error.errno or 0)
        remedies = [remedy for remedy, names in _REMEDIES.items() if name in names]
        what = f"the test broker cannot be started: {error.strerror or error}{where}."
        raise BrokerError(" ".join([what, *remedies])) from None


# --- The binary -------------------------------------------------------------------------------


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


def mosquitto_version(executable: str, timeout: float = 2.0) -> str | None:
    """Return the version that *executable* claims within *timeout* seconds, as in ``2.0.11``.

    None means that it claims none: it is no mosquitto, or hangs.
    """
    try:
        run = _Popen(
            [executable, "-h"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError:
        return None
    with run:
        try:
            output, _ = run.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(run)
            return None
    found = _VERSION.search(output.decode(errors="replace"))
    return found[1] if found else None


def _kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children: mosquitto may be a script that has some."""
    if leader.poll() is None:  # else its number may be another's by now
        with contextlib.suppress(OSError):
            os.killpg(leader.pid, signal.SIGKILL)
        leader.kill()
    leader.wait()


_VERSION = re.compile(r"mosquitto version (\d+\.\d\S*)")


def _too_old(executable: str, version: str) -> str:
    """Say that this version is too old, and what to do; empty where it is not."""
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) >= OLDEST_VERSION:
        return ""
    needed = ".".join(map(str, OLDEST_VERSION))
    return (
        f"{executable} is mosquitto {version}; it takes {needed} or later. Update it with "
        f"`{_install_command()}`, or set MQTT_TEST_MOSQUITTO to the path of a newer one."
    )


# --- The protocol -----------------------------------------------------------------------------


class _Password(str):
    """A password that no traceback shows: neither its locals nor a dict that it is in."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class _SecretPacket(bytes):
    """A packet with a password in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<CONNECT>"


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
        client_id_suffix: str = "",
        topic_prefix: str = "",
    ) -> None:
        self.host = host
        self.port = port
        self.username = username
        self.password = None if password is None else _Password(password)
        self.ssl_context = ssl_context
        self.websockets = websockets
        self.client_id_suffix = client_id_suffix
        self.topic_prefix = topic_prefix

    def get_connection_params(self) -> dict[str, Any]:
        """Return ``host``, ``port`` and ``keepalive`` (seconds), for ``client.connect(**...)``."""
        return {"host": self.host, "port": self.port, "keepalive": self.keepalive}

    def get_security_params(self) -> dict[str, Any]:
        """Return what a client has to set before it connects; empty for a plain open broker.

        The keys are ``username`` and ``password`` (for ``username_pw_set``), ``ssl_context``
        (for ``tls_set_context``) and ``transport`` (for the constructor); on a broker that others
        use too, ``client_id_suffix`` and ``topic_prefix``, which keep this run apart.
        """
        params: dict[str, Any] = {}
        if self.username is not None:
            params.update(username=self.username, password=self.password)
        if self.ssl_context is not None:
            params["ssl_context"] = self.ssl_context
        if self.websockets:
            params["transport"] = "websockets"
        if self.topic_prefix:
            params.update(client_id_suffix=self.client_id_suffix, topic_prefix=self.topic_prefix)
        return params

    def answers(self, timeout: float = 1.0, client_id: str = "") -> bool:
        """Say whether a CONNECT of *client_id* gets its CONNACK within *timeout* seconds.

        A CONNACK that refuses us is an answer too: a broker that asks for credentials is up.
        """
        try:
            return self.connack(timeout, client_id) is not None
        except OSError:
            return False

    def connack(self, timeout: float = 1.0, client_id: str = "") -> int | None:
        """Return the code of the CONNACK that a CONNECT of *client_id* gets; 0 lets it in.

        None where something else comes.

        Raises:
            OSError: nothing comes within *timeout* seconds.
        """
        with self._open_socket(timeout) as connection:
            return self._exchange_connect(connection, client_id)

    def end_session(self, client_id: str, timeout: float = 5.0) -> None:
        """Have the broker forget the persistent session of *client_id* (within *timeout* s).

        Raises:
            OSError: the broker cannot be reached.
        """
        with self._open_socket(timeout) as connection:
            self._exchange_connect(connection, client_id, and_then=b"\xe0\x00")  # DISCONNECT

    def _exchange_connect(
        self, connection: socket.socket, client_id: str, and_then: bytes = b""
    ) -> int | None:
        connect = _connect_packet(client_id, self.username, self.password)
        connection.sendall(self._framed(_SecretPacket(connect + and_then)))
        frame = 2 if self.websockets else 0
        reply = _receive(connection, frame + 4)[frame:]
        return reply[3] if reply[:1] == b"\x20" and len(reply) == 4 else None

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
        length = struct.pack("!BH", 0xFE, len(packet)) if len(packet) > 125 else None
        header = b"\x82" + (length or bytes([0x80 | len(packet)]))
        return type(packet)(header + bytes(4) + packet)


def _connect_packet(client_id: str, username: str | None, password: str | None) -> bytes:
    """Build an MQTT 3.1.1 CONNECT with a clean session."""
    flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    fields = [client_id, username, password]
    payload = b"".join(mqtt_string(field) for field in fields if field is not None)
    body = mqtt_string("MQTT") + bytes([4, flags]) + struct.pack("!H", 10) + payload
    return _SecretPacket(bytes([0x10]) + mqtt_length(len(body)) + body)


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


def _receive(connection: socket.socket, length: int) -> bytes:
    """Receive so many bytes, or fewer where the stream ends before."""
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        if not more:
            break
        received += more
    return received


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


# --- The broker -------------------------------------------------------------------------------


class TestMQTTBroker(MQTTEndpoint):
    """A mosquitto of our own: ``with TestMQTTBroker() as broker: connect(broker.port)``.

    Args:
        host: the address to listen on.
        port: the port to listen on; a free one where it is left out, kept over restarts.
        username: with *password*, the only credentials that get in; without, anybody does.
        password: see *username*.
        tls: make a certificate authority and a certificate (needs the package trustme);
            ``ssl_context`` is then what a client needs.
        require_client_certificate: with *tls*, refuse clients without a certificate of that
            authority; ``ssl_context`` has one.
        websockets: speak MQTT over websockets on the port instead of plain MQTT.
        executable: the mosquitto binary; searched where it is left out.
        config_lines: further lines for mosquitto.conf.

    Raises:
        ValueError: options that contradict each other, or that would open the broker to the
            network without naming the address.
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
        require_client_certificate: bool = False,
        websockets: bool = False,
        executable: str | os.PathLike[str] | None = None,
        config_lines: Iterable[str] = (),
    ) -> None:
        __tracebackhide__ = True
        super().__init__(
            host, port or 0, username=username, password=password, websockets=websockets
        )
        password = self.password  # the locals of a traceback may be shown
        if (username is None) != (password is None):
            raise ValueError("username and password go together: give both or neither")
        if not host:
            raise ValueError("host is empty, which means all interfaces: name one, or leave it out")
        if require_client_certificate and not tls:
            raise ValueError("require_client_certificate needs tls=True")
        if isinstance(config_lines, str):
            raise TypeError("config_lines is a list of lines, not one string: [line, ...]")
        self._config_lines = tuple(config_lines)
        _refuse_open_listeners(self._config_lines)
        self._port_is_chosen = not port
        self._port_is_known = False  # to clients
        self._tls = tls
        self._require_client_certificate = require_client_certificate
        self._certificates: dict[str, str] = {}
        self._executable = executable
        self._reservations: list[weakref.finalize[Any, Any]] = []
        self._spare_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: _Folder | None = None
        self._earlier_log = ""
        self._end_is_known = True
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
    def log_path(self) -> Path | None:
        """The file that mosquitto logs to, until it is stopped."""
        return self._folder.path / "mosquitto.log" if self._folder else None

    @property
    def log_position(self) -> int:
        """Where the log ends at present, for ``log_since``; cheaper than reading it."""
        current = self.log_path.stat().st_size if self.log_path else 0
        return len(self._earlier_log.encode()) + current

    def log_since(self, position: int) -> str:
        """Return what mosquitto has logged since the log was at *position*."""
        return self.log.encode()[position:].decode(errors="replace")

    def get_tls_params(self) -> dict[str, str]:
        """Return the files that a client needs for ``client.tls_set(**...)``, while it runs.

        That is ``ca_certs``, and ``certfile`` and ``keyfile`` where a client certificate is
        required. Empty without TLS. A Python client does as well with ``ssl_context``.
        """
        if not self._certificates or self._folder is None:
            return {}
        files = {"ca_certs": "ca.pem"}
        if self._require_client_certificate:
            files.update(certfile="client.pem", keyfile="client-key.pem")
        return {name: str(self._folder.path / file) for name, file in files.items()}

    # Life

    def reserve(self) -> None:
        """Choose the port and make the folder of the log, for a start later on."""
        if self._folder is None or not self._folder.is_ours():
            self._folder = _Folder()
            (self._folder.path / "mosquitto.log").touch(mode=0o600)
        if not self._reservations:
            self.port = self._reserve_port(self.host, self.port)
            if self.websockets:
                self._spare_port = self._reserve_port(SPARE_HOST, 0)

    def _reserve_port(self, host: str, port: int) -> int:
        reservation = _reserve_port(host, port)
        self._reservations.append(weakref.finalize(self, reservation.close))
        number: int = reservation.getsockname()[1]
        return number

    def start(self) -> TestMQTTBroker:
        """Start mosquitto and return this broker when it answers; at once where it runs already.

        ``broker = TestMQTTBroker(port=1883).start()`` takes the place of a ``Popen`` of mosquitto
        and of the wait behind it.

        Raises:
            BrokerError: no binary, a port in use, a broker that does not start; with the end
                of its log.
        """
        __tracebackhide__ = True
        if self.is_running():
            self.resume()  # a test may have left it paused
            return self
        executable = find_mosquitto(self._executable)
        for attempts_left in reversed(range(START_ATTEMPTS)):
            try:
                with _remedies():
                    self._start_once(executable)
                break
            except PortInUseError:
                # Somebody took the port between our choice and mosquitto's bind.
                if not attempts_left or self._port_is_known or not self._port_is_chosen:
                    raise
                self._release_ports()
                self.port = 0
        self._port_is_known = True
        self._end_is_known = False
        return self

    def _start_once(self, executable: str) -> None:
        __tracebackhide__ = True
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._discard_everything, failed=True)
            _sweep_abandoned_folders(tempfile.gettempdir())
            self._discard_process()
            self.reserve()
            assert self.log_path is not None, "reserve() makes its folder"
            config = self._write_config(self.log_path.parent)
            if sys.platform != "linux":
                self._release_ports()  # BSD lets nobody bind beside it, mosquitto neither
            self._process = self._spawn(executable, config, self.log_path)
            self.wait_for_ready(START_TIMEOUT)
            _refuse_to_be_far_from(self._process, self.log_path.with_name(PID_FILE), executable)
            logged = _VERSION.search(self._current_log())
            complaint = _too_old(executable, logged[1]) if logged else ""
            if complaint:
                raise BrokerError(complaint)
            on_failure.pop_all()

    def _spawn(self, executable: str, config: Path, log_path: Path) -> subprocess.Popen[bytes]:
        __tracebackhide__ = True
        with log_path.open("ab") as log:
            try:
                return _Popen(
                    [executable, "-c", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for pytest, which stops us in order
                )
            except OSError as error:
                if error.filename is None:
                    raise  # no descriptor, no process: the file is not to blame
                raise BrokerError(
                    f"{executable} cannot be run ({error.strerror}). "
                    "Give the path of a mosquitto binary for this machine."
                ) from None

    def stop(self) -> None:
        """Stop mosquitto, wait for its exit and remove its folder; does nothing twice."""
        try:
            self._end_in_order()
        finally:  # a second Ctrl-C included
            self._discard_everything()

    def _end_in_order(self) -> None:
        self._end_is_known = True
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # one that is paused could not end
        with contextlib.suppress(OSError):
            # mosquitto blocks signals while it waits for events, for 100 ms: give it an event.
            socket.create_connection((self.host, self.port), STOP_TIMEOUT).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT)

    def restart(self) -> None:
        """Stop mosquitto and start it again, empty, on the same port.

        Raises:
            BrokerError: it does not start.
        """
        __tracebackhide__ = True
        self._end_in_order()
        self._discard_process()
        self.start()

    def is_running(self) -> bool:
        """Say whether our mosquitto is alive (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    def wait_for_ready(self, timeout: float = START_TIMEOUT) -> bool:
        """Wait until mosquitto answers a CONNECT, *timeout* seconds at most; return True.

        Raises:
            BrokerError: it was never started, has ended, or does not answer; with its log.
        """
        __tracebackhide__ = True
        deadline = _monotonic() + timeout
        process = self._require_process("wait for")
        client_id = f"{READY_ID_PREFIX}{process.pid}"
        # Another broker may answer on the port while ours is about to find that it is taken.
        while not (self.answers(timeout, client_id) and self._has_logged(f" as {client_id} ")):
            if process.poll() is not None:
                status = process.returncode
                raise self._start_error(f"ended with status {status} before it answered")
            if _monotonic() > deadline:
                raise self._start_error(f"does not answer a CONNECT within {timeout:g} s")
            select.select([], [], [], POLL_INTERVAL)  # unlike `process.wait`, in frozen time too
        return True

    # What a helper's callers expect of the `Popen` that it used to return, besides `kill`

    def terminate(self) -> None:
        """Stop mosquitto, like ``stop``."""
        self.stop()

    def poll(self) -> int | None:
        """Return None while mosquitto runs, and then its exit status; 0 where it was stopped."""
        return self._process.poll() if self._process else 0

    def wait(self, timeout: float | None = None) -> int:
        """Return mosquitto's exit status once it has ended, and clean up; 0 where it was stopped.

        Raises:
            subprocess.TimeoutExpired: it runs on for *timeout* seconds.
        """
        status = self._process.wait(timeout) if self._process else 0
        self.stop()
        return status

    # Faults

    def kill(self) -> None:
        """Kill mosquitto (SIGKILL), as a crash would: no client is told."""
        self._end_is_known = True
        process = self._require_process("kill")
        process.kill()
        process.wait()

    def pause(self) -> None:
        """Stop mosquitto from answering (SIGSTOP); its connections stay open."""
        self._require_process("pause").send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused mosquitto go on (SIGCONT)."""
        self._require_process("resume").send_signal(signal.SIGCONT)

    def disconnect_clients(self, *client_ids: str) -> None:
        """Cut the connections of the clients that are named, or of all, as a network does.

        Usage::

            broker.disconnect_clients()  # all but the pool's shared connection
            broker.disconnect_clients("thermostat")

        mosquitto runs on with all that it retains. Neither side gets a DISCONNECT: mosquitto
        publishes the wills of the clients, keeps the sessions that are to be kept, and lets the
        clients in as soon as they come back. Call ``stop()`` or ``pause()`` first, or use
        ``kill()``, where they are not to come back at once.

        The connections are cut at mosquitto's end. That takes Linux 5.6 and the permission to
        trace mosquitto, which a container has with ``--cap-add SYS_PTRACE``. Elsewhere they are
        cut at the ends that this process has, and clients in other processes stay connected.

        Raises:
            BrokerError: a client that is named is not connected, or cannot be cut off here.
        """
        __tracebackhide__ = True
        process = self._require_process("disconnect the clients of")
        log = self._current_log()
        names = {int(port): name for port, name in _NEW_CLIENT.findall(log)}  # the last one counts

        def is_wanted(client_port: int) -> bool:
            name = names.get(client_port, "")
            return name in client_ids if client_ids else not name.startswith(OBSERVER_ID_PREFIX)

        reach = ""
        try:
            cut = _cut_connections(_descriptors_of(process.pid), self.port, is_wanted)
        except (OSError, ImportError):
            cut = _cut_connections(_descriptors_of_ours(), self.port, is_wanted)
            if self.is_running():
                reach = f" from this process; others are out of reach: {_REACH}"
        missed = set(client_ids) - {names[port] for port in cut if port in names}
        if missed:
            ours = (OBSERVER_ID_PREFIX, READY_ID_PREFIX)
            others = sorted({name for name in names.values() if not name.startswith(ours)})
            hint = f" The client ids that came are {', '.join(others)}." if others else ""
            raise BrokerError(f"no client {', '.join(sorted(missed))} is connected{reach}.{hint}")

    # Death

    def died(self) -> bool:
        """Say whether mosquitto has ended although nobody here asked it to."""
        return not self._end_is_known and not self.is_running()

    def report_death(self) -> str:
        """Return mosquitto's exit status and the end of its log; it is known from then on."""
        self._end_is_known = True
        status = self._process.returncode if self._process else None
        name = f" That is {signal.Signals(-status).name}." if status and status < 0 else ""
        return f"mosquitto ended with status {status}.{name} {self._log_tail()}"

    def _has_logged(self, text: str) -> bool:
        is_configured = self._config_options() & {"log_type", "log_dest", "connection_messages"}
        if is_configured or text in self._current_log():
            return True
        if self._folder is not None:
            self._folder.check_space()  # a log that cannot grow says nothing, for ever
        return False

    def _start_error(self, what: str) -> BrokerError:
        port_is_taken = "Address already in use" in self._current_log()
        parts = [f"mosquitto on {self.host}:{self.port} {what}."]
        if not port_is_taken:
            parts += self._doubts()
        if self._config_lines:
            parts += [f"Our config_lines: {list(self._config_lines)}."]
        kind = PortInUseError if port_is_taken else BrokerError
        return kind(" ".join([*parts, self._log_tail()]))

    def _doubts(self) -> list[str]:
        """Say what is wrong with the binary, as far as it can be told."""
        executable = find_mosquitto(self._executable)
        version = mosquitto_version(executable)
        if version is not None:
            doubts = (_too_old(executable, version), self._departure(executable))
            return [doubt for doubt in doubts if doubt]
        return [
            f"{executable} does not give a version as mosquitto does: name the binary with "
            "MQTT_TEST_MOSQUITTO or `executable`."
        ]

    def _departure(self, executable: str) -> str:
        if self._process is None or self._process.returncode != 0:
            return ""
        return _DEPARTED.format(executable)

    def _log_tail(self) -> str:
        tail = self.log.splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["The end of its log:", *tail]) if tail else "It has logged nothing."

    def _current_log(self) -> str:
        try:
            return self.log_path.read_text(errors="replace") if self.log_path else ""
        except FileNotFoundError:  # somebody has cleaned up the temporary folder
            return ""

    def _require_process(self, verb: str) -> subprocess.Popen[bytes]:
        __tracebackhide__ = True
        if self._process is None:
            raise BrokerError(f"cannot {verb} a broker that is not started: call start() first")
        return self._process

    def _discard_process(self) -> None:
        """End the process and forget it, dead or not."""
        if self._process is not None:
            _kill_group(self._process)
            self._process = None

    def _discard_everything(self, *, failed: bool = False) -> None:
        """Remove all that was made, first what holds descriptors: there may be no other."""
        self._discard_process()
        if self._folder is not None:
            self._folder.let_go()
            self._earlier_log = self.log
            if failed:  # perhaps because it went to the background
                _clean_up(self._folder.path)
            self._folder.remove()
            self._folder = None
        if not (self._port_is_chosen and self._port_is_known):
            self._release_ports()  # one that clients have from us stays ours: they may come back

    def _release_ports(self) -> None:
        while self._reservations:
            self._reservations.pop()()

    # Configuration

    def _write_config(self, folder: Path) -> Path:
        config = folder / "mosquitto.conf"
        config.touch(mode=0o600)
        tls_lines = self._tls_lines(folder) if self._tls else []
        lines = [
            *self._spare_listener_lines(tls_lines),
            f"listener {self.port} {self.host}",
            # Without it libwebsockets listens on all interfaces.
            f"socket_domain {'ipv6' if ':' in self.host else 'ipv4'}",
            "persistence false",
            "log_dest stderr",  # at once, where stdout is buffered
            "set_tcp_nodelay true",  # with Nagle a QoS 1 round trip takes 44 ms
            "max_inflight_messages 0",
            "max_queued_messages 0",
            *(["protocol websockets"] if self.websockets else []),
            *self._credential_lines(folder),
            *tls_lines,
            *self._pid_lines(folder),
            *_user_lines(folder),
            *self._config_lines,
        ]
        config.write_text("\n".join([*lines, ""]))
        return config

    def _spare_listener_lines(self, tls_lines: Sequence[str]) -> list[str]:
        """Have a second listener, since mosquitto 2.0 does not start with websockets alone.

        It asks for what the other one asks for. A Unix socket, which nobody could reach, takes
        no path that is long or has a space in it.
        """
        if not self.websockets:
            return []
        return [f"listener {self._spare_port} {SPARE_HOST}", *tls_lines]

    def _pid_lines(self, folder: Path) -> list[str]:
        if "pid_file" in self._config_options():
            return []
        file = folder / PID_FILE
        file.touch(mode=0o600)
        return [f"pid_file {file}"]

    def _config_options(self) -> set[str]:
        return {line.split()[0] for line in self._config_lines if line.strip()}

    def _credential_lines(self, folder: Path) -> list[str]:
        if self.username is None or self.password is None:
            return ["allow_anonymous true"]
        file = folder / "passwords"
        _write_private(file, f"{self.username}:{_password_hash(self.password)}\n")
        return ["allow_anonymous false", f"password_file {file}"]

    def _tls_lines(self, folder: Path) -> list[str]:
        __tracebackhide__ = True
        if not self._certificates:
            self._certificates = _issue_certificates(self.host)
        for name, text in self._certificates.items():
            _write_private(folder / name, text)
        if self.ssl_context is None:
            self.ssl_context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            if self._require_client_certificate:
                self.ssl_context.load_cert_chain(folder / "client.pem", folder / "client-key.pem")
        lines = [f"certfile {folder / 'server.pem'}", f"keyfile {folder / 'server-key.pem'}"]
        if self._require_client_certificate:
            lines += [f"cafile {folder / 'ca.pem'}", "require_certificate true"]
        return lines


MQTTTestBroker = TestMQTTBroker


DEPARTURE_TIME = 1.0
"""Seconds in which a script ends that has left mosquitto in the background."""

_DEPARTED = "{} has to run for as long as mosquitto does, without `&` and `-d`."


def _refuse_to_be_far_from(
    process: subprocess.Popen[bytes], pid_file: Path, executable: str
) -> None:
    """Refuse a mosquitto that is not the process which we have started, wait for and signal."""
    __tracebackhide__ = True
    pid = pid_file.read_text().strip() if pid_file.exists() else ""
    if pid not in ("", str(process.pid)):
        deadline = _monotonic() + DEPARTURE_TIME
        while process.poll() is None and _monotonic() < deadline:
            select.select([], [], [], POLL_INTERVAL)
        if process.returncode == 0:
            raise BrokerError(_DEPARTED.format(executable))
        raise BrokerError(
            f"{executable} does not become mosquitto but starts it as a process of its own, whose "
            'faults could not be told from here. Let it end with `exec mosquitto "$@"`.'
        )


_brokers: weakref.WeakSet[TestMQTTBroker] = weakref.WeakSet()


def is_a_test_broker(host: str, port: int) -> bool:
    """Say whether a broker that this process has started listens there."""
    hosts = ("localhost", "127.0.0.1", "::1")
    return any(
        broker.port == port and (host == broker.host or host.lower() in hosts)
        for broker in tuple(_brokers)
        if broker.is_running()
    )


# --- Addresses --------------------------------------------------------------------------------


def _reserve_port(host: str, port: int) -> socket.socket:
    """Bind *port*, or a free one where it is 0, so that nobody else takes it.

    The socket does not listen: on Linux mosquitto can bind the same port beside it, and in the
    meantime, and between two starts, the kernel gives it to nobody else.
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


def _refuse_open_listeners(config_lines: Sequence[str]) -> None:
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


# --- Files ------------------------------------------------------------------------------------


class _Folder:
    """A temporary folder that nobody else reads, locked for as long as its process lives.

    A folder of that name that is not locked has been left behind, and may be swept: no process
    id is needed to tell, which another process may have by now.
    """

    def __init__(self) -> None:
        guardian = _guardian_on_duty()
        self._owner = os.getpid()
        self.path, self._lock = _make_locked_folder()
        _folders.add(self)
        guardian.watch(self.path)

    def is_ours(self) -> bool:
        """Say whether this process has made it, and not the one that this was forked from."""
        return self._owner == os.getpid()

    def check_space(self) -> None:
        """Raise OSError where nothing can be written any more."""
        probe = self.path / "probe"
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink()

    def remove(self) -> None:
        """Remove the folder, let go, and its files; takes one descriptor, unlike ``rmtree``."""
        if not self.is_ours():
            return  # a forked child ends as its parent does, through `with` or pytest's fixtures
        with contextlib.suppress(FileNotFoundError):  # somebody is cleaning up as well
            for name in os.listdir(self.path):  # noqa: PTH208
                (self.path / name).unlink()
            self.path.rmdir()

    def let_go(self) -> None:
        """Close our lock: before the folder is removed, and in a forked child."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _make_locked_folder() -> tuple[Path, int | None]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept before it was locked
        except OSError:
            path.rmdir()
            raise
        with contextlib.suppress(OSError):  # NFS locks no folders: then nobody sweeps there
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        os.close(lock)


@functools.cache
def _sweep_abandoned_folders(temporary_folder: str) -> None:
    """Remove what processes have left behind that were killed with all their guardians; once."""
    for path in Path(temporary_folder).glob(f"{FOLDER_PREFIX}*"):
        # Its process is alive, another sweep is faster, it is not ours, or it is no folder.
        with contextlib.suppress(OSError):
            _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    if path.is_symlink() or path.stat().st_uid not in {os.geteuid(), _mosquitto_user()}:
        return
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clean_up(path)
    finally:
        os.close(lock)


def _clean_up(folder: Path) -> None:
    """Remove *folder* and kill those who run from it; nothing where no process can be had."""
    with contextlib.suppress(OSError):
        command = ["/bin/sh", "-c", CLEAN_UP, "sh", str(folder)]
        _Popen(command, stderr=subprocess.DEVNULL).wait()


def _write_private(path: Path, text: str) -> None:
    __tracebackhide__ = True
    path.touch(mode=0o600)
    path.write_text(text)


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


# --- The end of our process -------------------------------------------------------------------

CLEAN_UP = """
PATH=/usr/bin:/bin:$PATH
for folder; do
    [ -d "$folder" ] || continue
    rm -rf "$folder"
    for process in /proc/[0-9]*; do
        command=; read -r command <"$process/cmdline"
        case $command in *"-c$folder/mosquitto.conf"*) kill -KILL "${process#/proc/}" ;; esac
    done
    [ -d /proc/self ] || pkill -KILL -f -- "-c $folder/mosquitto.conf"
    rm -rf "$folder"
done
"""
"""Removes folders and kills those who run from them; in sh.

A folder goes first: a mosquitto that is just being started does not find its configuration. One
that has found it is known by its command line, and not by a number that may be another's by now.
"""


class _Guardian:
    """A shell that cleans up behind us when we are gone, whatever killed us.

    It reads the names of our folders from a pipe whose other end only we hold. The kernel closes
    that end with our death, SIGKILL included, which a mosquitto itself would survive. A folder is
    named before a mosquitto starts from it, so that there is no moment at which our death goes
    unnoticed.
    """

    SCRIPT = 'while IFS= read -r folder; do set -- "$@" "$folder"; done\n' + CLEAN_UP

    def __init__(self) -> None:
        self._shell = _Popen(
            ["/bin/sh", "-c", self.SCRIPT, "mqtt-test-broker-guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._shell.stdin is not None
        self.pipe = self._shell.stdin

    def is_on_duty(self) -> bool:
        """Say whether it watches this process, which may be a child of the one that it does."""
        return not self.pipe.closed and self._shell.poll() is None

    def watch(self, folder: Path) -> None:
        """Have *folder* removed, should we not come to it."""
        os.write(self.pipe.fileno(), os.fsencode(folder) + b"\n")

    def dismiss(self) -> None:
        """Have it do at once what is left to do, since we are going, and wait for that."""
        if self.is_on_duty():
            self.pipe.close()
            self._shell.wait()


_guardians: list[_Guardian] = []  # the last one is ours; a forked child has its parent's as well
_folders: weakref.WeakSet[_Folder] = weakref.WeakSet()


def _guardian_on_duty() -> _Guardian:
    if not _guardians or not _guardians[-1].is_on_duty():
        _guardians.append(_Guardian())
    return _guardians[-1]


@atexit.register
def _dismiss_guardians() -> None:
    for guardian in _guardians:
        guardian.dismiss()


def _leave_to_parent() -> None:
    """Hold nothing open, in a forked child, by which others tell that its parent is alive."""
    for guardian in _guardians:
        guardian.pipe.close()
    for folder in _folders:
        folder.let_go()


os.register_at_fork(after_in_child=_leave_to_parent)


# --- Connections ------------------------------------------------------------------------------

_NEW_CLIENT = re.compile(r"New client connected from \S+:(\d+) as (.+) \(p\d, c\d")
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438  # system calls; on all architectures that matter
_REACH = "that takes Linux 5.6 and, in a container, `--cap-add SYS_PTRACE`"


def _cut_connections(
    duplicates: Iterable[int], port: int, is_wanted: Callable[[int], bool]
) -> set[int]:
    """Shut down those of the descriptors that are an end of a wanted connection to *port*.

    Takes duplicates, which it closes, and ports of clients; returns the latter that were cut.
    """
    cut = set()
    for duplicate in duplicates:
        try:
            end = socket.socket(fileno=duplicate)
        except OSError:
            os.close(duplicate)  # no socket
            continue
        with end, contextlib.suppress(OSError):  # one without a peer is no connection
            near, far = end.getsockname(), end.getpeername()
            if end.family in (socket.AF_INET, socket.AF_INET6) and port in (near[1], far[1]):
                client_port = far[1] if near[1] == port else near[1]
                if is_wanted(client_port):
                    end.shutdown(socket.SHUT_RDWR)
                    cut.add(client_port)
    return cut


def _descriptors_of(pid: int) -> Iterator[int]:
    """Duplicate the descriptors of another process.

    Raises:
        OSError: this system has no way to do it, or does not let us.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    import ctypes  # not every Python has it

    system = ctypes.CDLL(None, use_errno=True)

    def call(*numbers: int, harmless: int = 0) -> int:
        result: int = system.syscall(*numbers)
        code = ctypes.get_errno()
        if result < 0 and code != harmless:
            raise OSError(code, os.strerror(code))
        return result

    process = call(_PIDFD_OPEN, pid, 0)  # `os` has it only if Python was built on such a Linux
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            closed_meanwhile = errno.EBADF
            duplicate = call(_PIDFD_GETFD, process, int(number), 0, harmless=closed_meanwhile)
            if duplicate >= 0:
                yield duplicate
    finally:
        os.close(process)


def _descriptors_of_ours() -> Iterator[int]:
    """Duplicate the descriptors of this process."""
    for number in os.listdir("/dev/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # the one that listed them
            yield os.dup(int(number))


# --- A broker of others -----------------------------------------------------------------------


class ExternalMQTTBroker(MQTTEndpoint):
    """A broker that runs already and belongs to somebody else; from ``MQTT_TEST_BROKER_URL``.

    The URL is ``mqtt://[user:password@]host[:port]`` or ``mqtts://...``, with these options:
    ``?cafile=PATH`` names the certificate authority of the broker, ``certfile`` and ``keyfile``
    the certificate of the client; ``topic_prefix`` is what the topics of all runs begin with.
    """

    DEFAULT_PORTS: Mapping[str, int] = {"mqtt": 1883, "mqtts": 8883}
    OPTIONS = ("cafile", "certfile", "keyfile", "topic_prefix")

    pid = None
    log = ""
    log_position = 0
    log_path = None

    def __init__(self, url: str) -> None:
        __tracebackhide__ = True
        parts = _split_broker_url(url.strip())
        options = _options_of_broker_url(parts)
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(4).hex()
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        prefix = options.get("topic_prefix", "mqtt-test").rstrip("/")
        super().__init__(
            parts.hostname or "",
            parts.port or self.DEFAULT_PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            ssl_context=_client_context(options) if parts.scheme == "mqtts" else None,
            client_id_suffix=f"-{run[:8]}-{worker}",
            topic_prefix=f"{prefix}/{run[:8]}/{worker}",
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
        try:
            code = self.connack(timeout, READY_ID_PREFIX + os.urandom(4).hex())
        except OSError as error:
            reason = self._why_no_answer(error)
        else:
            reason = self._why_no_answer(None) if code is None else self._refusal(code)
        if reason:
            raise BrokerError(
                f"MQTT connection failed: the broker of MQTT_TEST_BROKER_URL at "
                f"{_address(self)} {reason}"
            )
        return True

    def _refusal(self, code: int) -> str:
        """Say why it does not let us in; empty where it does, or leaves others a chance."""
        if code == SERVER_UNAVAILABLE:
            return "says that it is not available: wait for it, or look at its log."
        if code not in (BAD_CREDENTIALS, NOT_AUTHORISED):
            return ""
        if self.username is None:
            return "asks for a user and a password: write mqtt://user:password@host."
        return "refuses this user and password: check them; special characters as in %2F."

    def _why_no_answer(self, error: OSError | None) -> str:
        """Say what is wrong, and what to do about it, when no CONNACK came."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"cannot be trusted ({error.verify_message}): name its authority with "
                "?cafile=PATH, and the host as its certificate does."
            )
        if not isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            if self.ssl_context is None and _speaks_tls(self.host, self.port):
                return "speaks TLS there: write mqtts://, or the port on which it does not."
            if self.ssl_context is not None and MQTTEndpoint(self.host, self.port).answers():
                return "speaks no TLS there: write mqtt://, or the port on which it does."
            if self.ssl_context is not None and self._wants_certificate():
                return "seems to want a certificate: name yours with ?certfile=PATH&keyfile=PATH."
        detail = getattr(error, "strerror", None) or error or "something else came"
        return f"does not answer a CONNECT ({detail}). {_START_IT}"

    def _wants_certificate(self) -> bool:
        """Say whether it ends TLS with an alert; to one who speaks first, that may be lost."""
        try:
            with self._open_socket(1.0) as connection:
                connection.recv(1)
        except OSError as error:
            return _is_alert(error)
        return False

    def _refuse(self, *_client_ids: str) -> None:
        __tracebackhide__ = True
        raise BrokerError(
            "the broker of MQTT_TEST_BROKER_URL is not ours to stop or pause; "
            "use the fixture isolated_mqtt_broker for a test that does"
        )

    restart = kill = pause = resume = disconnect_clients = _refuse


SERVER_UNAVAILABLE, BAD_CREDENTIALS, NOT_AUTHORISED = 3, 4, 5  # in a CONNACK
_START_IT = "Check that the test broker is running, or unset the variable to have one started."


def _split_broker_url(url: str) -> SplitResult:
    """Split the URL; it may hold a password, and no error repeats it."""
    __tracebackhide__ = True
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    misplaced = "@" in parts.path + parts.query + parts.fragment  # a password with / ? or #
    surplus = parts.path.strip("/") or parts.fragment
    if not parts.hostname or misplaced or surplus:
        parts = urlsplit("")
    if parts.scheme not in ExternalMQTTBroker.DEFAULT_PORTS:
        raise BrokerError(
            "MQTT_TEST_BROKER_URL is not of the form mqtt://[user:password@]host[:port] "
            "or mqtts://... , with special characters as in %2F."
        )
    try:
        is_port = parts.port != 0
    except ValueError:
        is_port = False
    if not is_port:
        raise BrokerError("the port in MQTT_TEST_BROKER_URL is none: it is from 1 to 65535.")
    if parts.password and not parts.username:
        raise BrokerError("MQTT_TEST_BROKER_URL has a password without a user: give both.")
    return parts


def _options_of_broker_url(parts: SplitResult) -> dict[str, str]:
    __tracebackhide__ = True

    def refuse(why: str) -> None:
        __tracebackhide__ = True
        raise BrokerError(f"MQTT_TEST_BROKER_URL {why}.")

    # A plus is one, in the path of a file: these are no forms.
    query = parts.query.replace("+", "%2B")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = ExternalMQTTBroker.OPTIONS
    unknown = sorted(set(options) - set(known))
    if unknown:
        refuse(f"has the options {', '.join(unknown)}; it may have {', '.join(known)}")
    empty = sorted(name for name, value in options.items() if not value)
    if empty:
        refuse(f"has nothing behind {', '.join(empty)}")
    if "keyfile" in options and "certfile" not in options:
        refuse("has a keyfile without a certfile")
    of_tls = sorted(set(options) - {"topic_prefix"})
    if of_tls and parts.scheme != "mqtts":
        refuse(f"has {', '.join(of_tls)}, which is for TLS: write mqtts://")
    prefix = options.get("topic_prefix", "")
    if prefix.startswith("$") or set(prefix) & set("+#"):
        refuse(f"has the topic_prefix {prefix!r}: it may not have + or #, nor begin with $")
    return options


def _address(endpoint: MQTTEndpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _is_alert(error: OSError) -> bool:
    """Say whether TLS was ended by the other side for want of a certificate, in its words."""
    reasons = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
    return isinstance(error, ssl.SSLError) and (error.reason or "").endswith(reasons)


def _speaks_tls(host: str, port: int, timeout: float = 1.0) -> bool:
    """Ask without having it verified, since nothing but the answer matters."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout) as connection:
            context.wrap_socket(connection).close()
    except OSError as error:
        return _is_alert(error)
    return True


def _client_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """Make what verifies the broker, and shows it our certificate where the URL names one."""
    __tracebackhide__ = True
    try:
        context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            # An encrypted key would have it ask at the terminal.
            context.load_cert_chain(options["certfile"], options.get("keyfile"), password="")
    except OSError as error:
        raise BrokerError(
            "the certificates that MQTT_TEST_BROKER_URL names in cafile, certfile or keyfile "
            f"cannot be read: {error.strerror or error}."
        ) from None
    return context


# Evaluated at run time, on every Python: the alias is for annotations in users' suites as well.
SessionBroker = Union[TestMQTTBroker, ExternalMQTTBroker]

# --- Fixtures ---------------------------------------------------------------------------------

# What most tests use does without the fixture `request`: pytest 9 makes a definition of it, with
# the signature of its function, for each fixture that asks and each time it is looked at.
_runs: list[pytest.Config] = []
_session_broker = pytest.StashKey[SessionBroker]()
_failed_restart = pytest.StashKey[str]()
_DEATH = "The broker died: {}"
_brokers_of_test: list[tuple[SessionBroker, int]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Know the run that is going on."""
    _runs.append(config)


@contextlib.contextmanager
def errors_as_failures() -> Iterator[None]:
    """Turn our errors into failures without a traceback: the message says it all."""
    try:
        yield
    except BrokerError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _is_used(broker: SessionBroker) -> bool:
    return any(used is broker for used, _ in _brokers_of_test)


def _note_use(broker: SessionBroker) -> None:
    """Remember that this test uses *broker*, for the report should the test fail."""
    _brokers_of_test.append((broker, broker.log_position))


def _broker_of_session() -> SessionBroker:
    """Return the session's broker, started or not."""
    config = _runs[-1]
    if _session_broker not in config.stash:
        # Not in a local variable, which pytest may show: the URL may hold a password.
        config.stash[_session_broker] = (
            ExternalMQTTBroker(os.environ["MQTT_TEST_BROKER_URL"])
            if os.environ.get("MQTT_TEST_BROKER_URL")
            else TestMQTTBroker()
        )
    return config.stash[_session_broker]


@pytest.fixture(scope="session")
def session_mqtt_broker() -> Iterator[SessionBroker]:
    """The broker of this session (of each worker, under pytest-xdist)."""
    with errors_as_failures():
        broker = _broker_of_session()
        broker.start()
    yield broker
    _tell_death_between_tests(broker)
    broker.stop()


@pytest.fixture
def live_mqtt_broker(session_mqtt_broker: SessionBroker) -> Iterator[SessionBroker]:
    """The session's broker, running at the start of the test whatever the last one did to it."""
    _begin_test_with(session_mqtt_broker)
    yield session_mqtt_broker
    if isinstance(session_mqtt_broker, TestMQTTBroker) and session_mqtt_broker.died():
        pytest.fail(_DEATH.format(session_mqtt_broker.report_death()), pytrace=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have the session's broker run before the fixtures and clients of a test look for it.

    It may be known to them by fixtures of a wider scope alone, which are not set up again.
    """
    broker = _session_broker_of(item)
    if broker is not None:
        _begin_test_with(broker)


def _session_broker_of(item: pytest.Item) -> SessionBroker | None:
    """Return what the fixture of that name, perhaps a user's own, has made for this test."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    definitions = known.get("session_mqtt_broker")
    result = definitions[-1].cached_result if definitions else None
    return result[0] if result else None


def _begin_test_with(broker: SessionBroker) -> None:
    """Have *broker* run, whatever the last test did to it; once a test."""
    if _is_used(broker):
        return
    _tell_death_between_tests(broker)
    with errors_as_failures():
        _start_again(broker)
    _note_use(broker)


def _tell_death_between_tests(broker: SessionBroker) -> None:
    if isinstance(broker, TestMQTTBroker) and broker.died():
        add_to_summary("mosquitto died between two tests", broker.report_death())


def _start_again(broker: SessionBroker) -> None:
    """Start *broker* where it does not run; where that has failed once, fail without a wait."""
    config = _runs[-1]
    if _failed_restart in config.stash:
        raise BrokerError(config.stash[_failed_restart])
    try:
        broker.start()
    except BrokerError as error:
        config.stash[_failed_restart] = f"The broker could not be started again. {error}"
        raise


@pytest.fixture
def test_mqtt_broker(live_mqtt_broker: SessionBroker) -> SessionBroker:
    """The session's broker, under the name that suites use; override it as you like."""
    return live_mqtt_broker


@pytest.fixture
def isolated_mqtt_broker() -> Iterator[TestMQTTBroker]:
    """A broker for one test alone: to be killed, paused, or filled with persistent sessions."""
    broker = TestMQTTBroker()
    with errors_as_failures():
        broker.start()
    _note_use(broker)
    yield broker
    broker.stop()


# --- Reports ----------------------------------------------------------------------------------


def pytest_report_header(config: pytest.Config) -> str:
    """Print mosquitto's version, and where the session's broker and its log will be.

    The port is reserved and the folder made for that, but mosquitto starts with the first test
    that uses it. Under pytest-xdist every worker has a broker of its own, and a suite may make
    its own brokers: the report of a failed test names the address and log of those it used.
    """
    try:
        return f"mosquitto: {_describe_broker(config)}"
    except BrokerError as error:
        return f"mosquitto: {error}"


def _describe_broker(config: pytest.Config) -> str:
    broker = _broker_of_session()
    if isinstance(broker, ExternalMQTTBroker):
        return f"{_address(broker)}, which MQTT_TEST_BROKER_URL names"
    executable = find_mosquitto()
    binary = f"version {mosquitto_version(executable) or 'unknown'} ({executable})"
    if config.pluginmanager.has_plugin("dsession"):
        logs = Path(tempfile.gettempdir(), f"{FOLDER_PREFIX}*", "mosquitto.log")
        return (
            f"{binary}, one a worker at 127.0.0.1, logs {logs}; "
            "the report of a failed test names its own"
        )
    with _remedies():
        broker.reserve()
    return f"{binary}, session broker at {broker.host}:{broker.port}, log {broker.log_path}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was made for a session's broker that nobody has started."""
    _runs.remove(config)
    if _session_broker in config.stash:
        config.stash[_session_broker].stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Let a broker go on that the test has left paused: what is torn down now needs it."""
    _resume_brokers()


def _resume_brokers() -> None:
    for broker, _ in _brokers_of_test:
        if isinstance(broker, TestMQTTBroker) and broker.is_running():
            broker.resume()


def pytest_runtest_logfinish() -> None:
    """Forget which brokers the test has used: it has been reported."""
    _brokers_of_test.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a test in which a broker died, and add to a failed one's report what the brokers say."""
    outcome: Any = yield
    report = outcome.get_result()
    broker_of_session = _session_broker_of(item)
    if broker_of_session is not None and not _is_used(broker_of_session):
        _brokers_of_test.append((broker_of_session, 0))  # this test has started it
    for broker, start in _brokers_of_test:
        # What dies as wider fixtures are torn down has died between two tests.
        is_told_here = report.when != "teardown" and not report.skipped
        if is_told_here and isinstance(broker, TestMQTTBroker) and broker.died():
            _report_death(report, broker)
        elif report.failed:
            _report_log(report, broker, start)


def _report_death(report: Any, broker: TestMQTTBroker) -> None:
    death = _DEATH.format(broker.report_death())
    if report.failed:
        report.sections.append((f"mosquitto on {broker.host}:{broker.port}", death))
    else:
        report.outcome, report.longrepr = "failed", death


def _report_log(report: Any, broker: SessionBroker, start: int) -> None:
    lines = broker.log_since(start).splitlines()[-LOG_TAIL_LINES:]
    if lines:
        place = f" ({broker.log_path})" if broker.log_path else ""
        title = f"mosquitto log of {broker.host}:{broker.port}{place}"
        report.sections.append((title, "\n".join(lines)))


_summary_lines = pytest.StashKey["dict[str, list[str]]"]()
_SUMMARY_OUTPUT = "mqtt_test_broker_summary"  # the key under which xdist's workers send theirs


def add_to_summary(title: str, line: str) -> None:
    """Have *line* printed at the end of the run, in the section *title*; once however often."""
    lines = _runs[-1].stash.setdefault(_summary_lines, {}).setdefault(title, [])
    if line not in lines:
        lines.append(line)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's summary lines to the process that prints them (pytest-xdist).

    The fixtures of the session are torn down after this, and of a test that Ctrl-C has ended.
    """
    _resume_brokers()
    if hasattr(session.config, "workeroutput"):
        lines = session.config.stash.setdefault(_summary_lines, {})
        session.config.workeroutput[_SUMMARY_OUTPUT] = lines


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the summary lines of a worker that has finished (pytest-xdist)."""
    for title, lines in getattr(node, "workeroutput", {}).get(_SUMMARY_OUTPUT, {}).items():
        for line in lines:
            add_to_summary(title, line)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the summary lines of all modules."""
    for title, lines in config.stash.get(_summary_lines, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)


# --- Being a plugin ---------------------------------------------------------------------------


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
            _keep_hooks_from_star_import(sys.modules[module_name])
            # What `-p` and `pytest_plugins` name, pytest registers itself, once it is imported.
            if frame.f_locals.get("modname") != module_name:
                _register_once(manager, module_name)
            return


def _keep_hooks_from_star_import(module: types.ModuleType) -> None:
    """Have ``import *`` in a conftest.py bring fixtures, but no hook, which would run twice."""
    names = [name for name in vars(module) if not name.startswith(("_", "pytest_"))]
    vars(module)["__all__"] = names


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
