"""A broker that runs already, named by MQTT_TEST_BROKER_URL."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Union
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..wire.endpoint import MQTTEndpoint, address
from .connections import READY_ID_PREFIX
from .errors import BrokerError
from .process import START_TIMEOUT, TestMQTTBroker


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
                f"{address(self)} {reason}"
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
