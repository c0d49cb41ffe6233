"""A mosquitto as a child of this process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..originals import Popen, monotonic
from ..wire.endpoint import MQTTEndpoint
from .binary import VERSION, find_mosquitto, kill_group, mosquitto_version, too_old
from .config import (
    PID_FILE,
    SPARE_HOST,
    issue_certificates,
    password_hash,
    refuse_open_listeners,
    user_lines,
)
from .connections import (
    NEW_CLIENT,
    OBSERVER_ID_PREFIX,
    REACH,
    READY_ID_PREFIX,
    cut_connections,
    descriptors_of,
    descriptors_of_ours,
)
from .errors import BrokerError, PortInUseError, remedies
from .folder import Folder, clean_up, sweep_abandoned_folders, write_private
from .ports import reserve_port

LOG_TAIL_LINES = 20

START_ATTEMPTS = 5

START_TIMEOUT = 10.0

STOP_TIMEOUT = 5.0

POLL_INTERVAL = 0.001


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
        refuse_open_listeners(self._config_lines)
        self._port_is_chosen = not port
        self._port_is_known = False  # to clients
        self._tls = tls
        self._require_client_certificate = require_client_certificate
        self._certificates: dict[str, str] = {}
        self._executable = executable
        self._reservations: list[weakref.finalize[Any, Any]] = []
        self._spare_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Folder | None = None
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
            self._folder = Folder()
            (self._folder.path / "mosquitto.log").touch(mode=0o600)
        if not self._reservations:
            self.port = self._reserve_port(self.host, self.port)
            if self.websockets:
                self._spare_port = self._reserve_port(SPARE_HOST, 0)

    def _reserve_port(self, host: str, port: int) -> int:
        reservation = reserve_port(host, port)
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
                with remedies():
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
            sweep_abandoned_folders(tempfile.gettempdir())
            self._discard_process()
            self.reserve()
            assert self.log_path is not None, "reserve() makes its folder"
            config = self._write_config(self.log_path.parent)
            if sys.platform != "linux":
                self._release_ports()  # BSD lets nobody bind beside it, mosquitto neither
            self._process = self._spawn(executable, config, self.log_path)
            self.wait_for_ready(START_TIMEOUT)
            _refuse_to_be_far_from(self._process, self.log_path.with_name(PID_FILE), executable)
            logged = VERSION.search(self._current_log())
            complaint = too_old(executable, logged[1]) if logged else ""
            if complaint:
                raise BrokerError(complaint)
            on_failure.pop_all()

    def _spawn(self, executable: str, config: Path, log_path: Path) -> subprocess.Popen[bytes]:
        __tracebackhide__ = True
        with log_path.open("ab") as log:
            try:
                return Popen(
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
        deadline = monotonic() + timeout
        process = self._require_process("wait for")
        client_id = f"{READY_ID_PREFIX}{process.pid}"
        # Another broker may answer on the port while ours is about to find that it is taken.
        while not (self.answers(timeout, client_id) and self._has_logged(f" as {client_id} ")):
            if process.poll() is not None:
                status = process.returncode
                raise self._start_error(f"ended with status {status} before it answered")
            if monotonic() > deadline:
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
        names = {int(port): name for port, name in NEW_CLIENT.findall(log)}  # the last one counts

        def is_wanted(client_port: int) -> bool:
            name = names.get(client_port, "")
            return name in client_ids if client_ids else not name.startswith(OBSERVER_ID_PREFIX)

        reach = ""
        try:
            cut = cut_connections(descriptors_of(process.pid), self.port, is_wanted)
        except (OSError, ImportError):
            cut = cut_connections(descriptors_of_ours(), self.port, is_wanted)
            if self.is_running():
                reach = f" from this process; others are out of reach: {REACH}"
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
            doubts = (too_old(executable, version), self._departure(executable))
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
            kill_group(self._process)
            self._process = None

    def _discard_everything(self, *, failed: bool = False) -> None:
        """Remove all that was made, first what holds descriptors: there may be no other."""
        self._discard_process()
        if self._folder is not None:
            self._folder.let_go()
            self._earlier_log = self.log
            if failed:  # perhaps because it went to the background
                clean_up(self._folder.path)
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
            *user_lines(folder),
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
        write_private(file, f"{self.username}:{password_hash(self.password)}\n")
        return ["allow_anonymous false", f"password_file {file}"]

    def _tls_lines(self, folder: Path) -> list[str]:
        __tracebackhide__ = True
        if not self._certificates:
            self._certificates = issue_certificates(self.host)
        for name, text in self._certificates.items():
            write_private(folder / name, text)
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
        deadline = monotonic() + DEPARTURE_TIME
        while process.poll() is None and monotonic() < deadline:
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
