"""A mosquitto as a child of this process."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Iterable
from typing import Any

from ..originals import os, signal, socket, subprocess, threading, time
from ..wire.endpoint import MQTTEndpoint
from .binary import doubt_about, find_mosquitto, mosquitto_version, version_in
from .child import (
    LOG_NAME,
    POLL_INTERVAL,
    LoggedProcess,
    has_ended,
    kill_group,
    signal_group,
    spawn,
)
from .config import SPARE_HOST, Config
from .connections import READY_ID_PREFIX, disconnect_clients, reserve_port
from .errors import BrokerError, PortInUseError, remedies
from .folder import Folder, clean_up, write_private

START_ATTEMPTS = 5
START_TIMEOUT = 10.0
STOP_TIMEOUT = 5.0

HARMLESS_SIGNALS = (
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGCONT,
)
"""Those that do not end mosquitto."""


class TestMQTTBroker(LoggedProcess, MQTTEndpoint):
    """A mosquitto of our own: ``with TestMQTTBroker() as broker: connect(broker.port)``.

    Args:
        host: the address to listen on.
        port: the port to listen on; a free one where it is left out, kept over restarts.
        username: with *password*, the only credentials that get in; without, all clients do.
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
        if isinstance(config_lines, str):
            raise TypeError("config_lines is a list of lines, not one string: [line, ...]")
        self._config = Config(
            self, tuple(config_lines), tls=tls, client_certificate=require_client_certificate
        )
        self._port_is_chosen = not port
        self._port_is_known = False  # to clients
        self._executable = executable
        self._reservations: list[weakref.finalize[Any, Any]] = []
        self._spare_port = 0
        self._folder: Folder | None = None
        self._end_is_known = True
        self._starting = threading.RLock()
        _brokers.add(self)

    def __enter__(self) -> TestMQTTBroker:
        return self.start()

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.is_running() else "not running"
        return f"<{type(self).__name__} {self.host}:{self.port or '?'} {state}>"

    def get_tls_params(self) -> dict[str, str]:
        """Return the files for ``client.tls_set(**...)``, while it runs; or use ``ssl_context``."""
        return self._config.client_files(self._folder.path) if self._folder else {}

    def reserve(self) -> Folder:
        """Choose the port and make the folder of the log, for a start later on."""
        if self._folder is None or not self._folder.is_ours():
            self._folder = Folder()
            self.log_path = self._folder.path / LOG_NAME
            write_private(self.log_path, "")
        if not self._reservations:
            self.port = self._reserve_port(self.host, self.port)
            if self.websockets:
                self._spare_port = self._reserve_port(SPARE_HOST, 0)
        return self._folder

    def _reserve_port(self, host: str, port: int) -> int:
        reservation = reserve_port(host, port)
        self._reservations.append(weakref.finalize(self, reservation.close))
        number: int = reservation.getsockname()[1]
        return number

    def start(self) -> TestMQTTBroker:
        """Start mosquitto and return this broker when it answers; at once where it runs already.

        Raises:
            BrokerError: no binary, a port in use, a broker that does not start; with its log.
        """
        __tracebackhide__ = True
        with self._starting:  # else two threads start one each, and the first is forgotten
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
                    # Another process took the port between our choice and mosquitto's bind.
                    if not attempts_left or self._port_is_known or not self._port_is_chosen:
                        raise
                    self.port = 0
            self._port_is_known = True
            self._end_is_known = False
            return self

    def _start_once(self, executable: str) -> None:
        __tracebackhide__ = True
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._discard_everything, failed=True)
            self._discard_process()
            folder = self.reserve().path
            config = self._config.write(folder, self._spare_port)
            if sys.platform != "linux":
                self._release_ports()  # BSD lets no process bind beside it
            self._process = self._latest = spawn(executable, config, folder / LOG_NAME)
            self.wait_for_ready(START_TIMEOUT)
            version = version_in(self._current_log())
            doubt = version and doubt_about(executable, version)
            if doubt:
                raise BrokerError(doubt)
            on_failure.pop_all()

    def stop(self) -> None:
        """Stop mosquitto, wait for its exit and remove its folder; does nothing twice."""
        try:
            self._end_in_order()
        finally:  # a second Ctrl-C included
            self._discard_everything()

    terminate = stop

    def wait(self, timeout: float | None = None) -> int:
        """Wait for mosquitto's end, clean up and return its exit status."""
        if self._process is not None and not has_ended(self._process, timeout):
            raise subprocess.TimeoutExpired(self._process.args, timeout or 0)
        status = self.poll() or 0
        self.stop()
        return status

    def communicate(
        self,
        input: bytes | None = None,  # noqa: ARG002 (as in Popen)
        timeout: float | None = None,
    ) -> tuple[bytes, bytes]:
        """Wait like ``wait``; return no output, and what mosquitto has logged."""
        self.wait(timeout)
        return b"", self.log.encode()

    def _end_in_order(self) -> None:
        self._end_is_known = True
        if self._process is not None and self.is_running():
            signal_group(self._process, signal.SIGTERM)
            signal_group(self._process, signal.SIGCONT)  # one that is paused could not end
            with contextlib.suppress(OSError):
                # mosquitto blocks signals while it waits for events, for 100 ms: give it an event.
                socket.create_connection((self.host, self.port), STOP_TIMEOUT).close()
            has_ended(self._process, STOP_TIMEOUT)
        self._discard_process()

    def restart(self) -> None:
        """Stop mosquitto and start it again, empty, on the same port."""
        __tracebackhide__ = True
        self._end_in_order()
        self.start()

    def is_running(self) -> bool:
        """Return whether our mosquitto is alive (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    def wait_for_ready(self, timeout: float = START_TIMEOUT) -> bool:
        """Wait until mosquitto answers a CONNECT, *timeout* seconds at most; return True.

        Raises:
            BrokerError: it was never started, has ended, or does not answer; with its log.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        process = self._require_process("wait for")
        client_id = f"{READY_ID_PREFIX}{process.pid}"
        # Another broker may answer on the port while ours is about to find that it is taken.
        while not (self.answers(timeout, client_id) and self._has_logged(f" as {client_id} ")):
            if process.poll() is not None:
                status = process.returncode
                raise self._start_error(f"ended with status {status} before it answered")
            if time.monotonic() > deadline:
                raise self._start_error(f"does not answer a CONNECT within {timeout:g} s")
            has_ended(process, POLL_INTERVAL)
        return True

    def kill(self) -> None:
        """Kill mosquitto (SIGKILL), as a crash would: no client is told."""
        self._end_is_known = True
        if self._process is not None or self._latest is None:
            kill_group(self._require_process("kill"))

    def send_signal(self, number: int) -> None:
        """Send a signal to mosquitto, such as SIGHUP to read its configuration again."""
        self._end_is_known |= number not in HARMLESS_SIGNALS
        if self._process is not None:
            signal_group(self._process, signal.Signals(number))

    def pause(self) -> None:
        """Stop mosquitto from answering (SIGSTOP); its connections stay open."""
        signal_group(self._require_process("pause"), signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused mosquitto go on (SIGCONT)."""
        signal_group(self._require_process("resume"), signal.SIGCONT)

    def disconnect_clients(self, *client_ids: str) -> None:
        """Cut the connections of the clients that are named, or of all, as a network does.

        Usage::

            broker.disconnect_clients()  # all but the pool's shared connection
            broker.disconnect_clients("thermostat")

        Neither side gets a DISCONNECT: mosquitto publishes the wills of the clients, and lets
        them in as soon as they come back. Call ``stop()`` or ``pause()`` first, or use ``kill()``,
        where they are not to come back at once. Clients in other processes stay connected.

        Raises:
            BrokerError: a client that is named is not connected from this process.
        """
        __tracebackhide__ = True
        self._require_process("disconnect the clients of")
        disconnect_clients(self.port, self._current_log(), client_ids)

    def died(self) -> bool:
        """Return whether mosquitto has ended although no call asked it to."""
        return not self._end_is_known and not self.is_running()

    def report_death(self) -> str:
        """Return how mosquitto has ended although no call asked it to; told once, else empty."""
        if not self.died():
            return ""
        self._end_is_known = True
        status = self._process.returncode if self._process else None
        name = f" That is {signal.Signals(-status).name}." if status and status < 0 else ""
        return f"The broker died: mosquitto ended with status {status}.{name} {self._log_tail}"

    def _has_logged(self, text: str) -> bool:
        is_configured = self._config.sets("log_type", "log_dest", "connection_messages")
        if is_configured or text in self._current_log():
            return True
        if self._folder is not None:
            self._folder.check_space()  # a log that cannot grow says nothing, for ever
        return False

    def _start_error(self, what: str) -> BrokerError:
        port_is_taken = "Address already in use" in self._current_log()
        executable = find_mosquitto(self._executable)
        parts = [
            f"mosquitto on {self.host}:{self.port} {what}.",
            "" if port_is_taken else doubt_about(executable, mosquitto_version(executable)),
            f"Our config_lines: {[*self._config.lines]}." if self._config.lines else "",
            self._log_tail,
        ]
        kind = PortInUseError if port_is_taken else BrokerError
        return kind(" ".join(filter(None, parts)))

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
            self._earlier_log += self._read_log()
            self.log_path = None
            if failed:  # perhaps because it went to the background
                clean_up(self._folder.path)
            self._folder.remove()
            self._folder = None
        if not (self._port_is_chosen and self._port_is_known):
            self._release_ports()  # one that clients have from us stays ours: they may come back

    def _release_ports(self) -> None:
        while self._reservations:
            self._reservations.pop()()


_brokers: weakref.WeakSet[TestMQTTBroker] = weakref.WeakSet()


def is_a_test_broker(host: str, port: int) -> bool:
    """Return whether a broker that this process has started listens there."""
    hosts = ("localhost", "127.0.0.1", "::1")
    return any(
        broker.port == port and (host == broker.host or host.lower() in hosts)
        for broker in tuple(_brokers)
        if broker.is_running()
    )
