"""A broker that runs already, named by MQTT_TEST_BROKER_URL."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import Union
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..originals import os, variable
from ..wire.endpoint import MQTTEndpoint, address
from .connections import READY_ID_PREFIX
from .errors import BrokerError
from .process import START_TIMEOUT, TestMQTTBroker

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}

OPTIONS = ("cafile", "certfile", "keyfile", "topic_prefix")

_CHECK_IT = (
    "Check that the test broker is running and speaks MQTT 5, whether it is mqtt:// or mqtts://, "
    "and what certificates it takes (?cafile=PATH); or unset the variable, and one is started."
)


class ExternalMQTTBroker(MQTTEndpoint):
    """A broker that runs already and is not ours; it has to speak MQTT 5.

    The URL is ``mqtt://[user:password@]host[:port]`` or ``mqtts://...``, with these options:
    ``?cafile=PATH`` names the certificate authority of the broker, ``certfile`` and ``keyfile``
    the certificate of the client; ``topic_prefix`` is what the topics of all runs begin with.
    """

    pid = None
    log = ""
    log_position = 0
    log_path = None

    def __init__(self, url: str) -> None:
        __tracebackhide__ = True
        parts, options = _split_broker_url(url.strip())
        run = variable("PYTEST_XDIST_TESTRUNUID") or os.urandom(4).hex()
        worker = variable("PYTEST_XDIST_WORKER", "main")
        prefix = options.get("topic_prefix", "mqtt-test").rstrip("/")
        super().__init__(
            parts.hostname or "",
            parts.port or DEFAULT_PORTS[parts.scheme],
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
        """Return whether the broker answers."""
        return self.answers()

    def died(self) -> bool:
        """Return False: whether it lives is not ours to judge."""
        return False

    def report_death(self) -> str:
        """Return nothing: whether it lives is not ours to judge."""
        return ""

    def stop(self) -> None:
        """Leave the broker as it is."""

    def wait_for_ready(self, timeout: float = START_TIMEOUT) -> bool:
        """Check that the broker lets us in within *timeout* seconds; return True.

        Raises:
            BrokerError: it does not; says why.
        """
        __tracebackhide__ = True
        try:
            code = self.connack(timeout, READY_ID_PREFIX + os.urandom(4).hex(), mqtt_5=True)
        except OSError as error:
            reason = f"does not answer a CONNECT ({error.strerror or error}). {_CHECK_IT}"
        else:
            reason = self._refusal(code)
        if reason:
            what = f"the broker of MQTT_TEST_BROKER_URL at {address(self)}"
            raise BrokerError(f"MQTT connection failed: {what} {reason}")
        return True

    start = wait_for_ready  # starting it is not ours

    def _refusal(self, code: int | None) -> str:
        """Return why it does not let us in; empty where it does, or leaves others a chance."""
        if code is None:
            return f"does not answer a CONNECT of MQTT 5 with a CONNACK. {_CHECK_IT}"
        if code in (1, 0x84):  # of MQTT 3.1.1, and of MQTT 5; so below
            return "does not speak MQTT 5, which the tests need: use a broker that does."
        if code in (3, 0x88):
            return "says that it is not available: wait for it, or look at its log."
        if code not in (4, 5, 0x86, 0x87):
            return ""
        if self.username is None:
            return "asks for a user and a password: write mqtt://user:password@host."
        return "refuses this user and password: check them; special characters as in %2F."

    def _refuse(self, *_client_ids: str) -> None:
        __tracebackhide__ = True
        raise BrokerError(
            "the broker of MQTT_TEST_BROKER_URL is not ours to stop or pause; "
            "use the fixture isolated_mqtt_broker for a test that does"
        )

    restart = kill = pause = resume = disconnect_clients = _refuse


# Evaluated at run time, on every Python: the alias is for annotations in users' suites as well.
SessionBroker = Union[TestMQTTBroker, ExternalMQTTBroker]


def _split_broker_url(url: str) -> tuple[SplitResult, dict[str, str]]:
    """Return the parts of the URL, and the options behind its question mark."""
    __tracebackhide__ = True
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    # A plus is one, in the path of a file: these are no forms.
    options = dict(parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True))
    for complaint in _complaints(parts, options):
        raise BrokerError(complaint)
    return parts, options


def _complaints(parts: SplitResult, options: Mapping[str, str]) -> Iterator[str]:
    """Say what the URL cannot be, without repeating it: it may hold a password."""
    variable = "MQTT_TEST_BROKER_URL"
    misplaced = "@" in parts.path + parts.query + parts.fragment  # a password with / ? or #
    surplus = parts.path.strip("/") or parts.fragment
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or misplaced or surplus:
        yield (
            f"{variable} is not of the form mqtt://[user:password@]host[:port] "
            "or mqtts://... , with special characters as in %2F."
        )
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        yield f"the port in {variable} is none: it is from 1 to 65535."
    if parts.password and not parts.username:
        yield f"{variable} has a password without a user: give both."
    unknown = ", ".join(sorted(set(options) - set(OPTIONS)))
    if unknown:
        yield f"{variable} has the options {unknown}; it may have {', '.join(OPTIONS)}."
    empty = ", ".join(name for name, value in options.items() if not value)
    if empty:
        yield f"{variable} has nothing behind {empty}."
    if "keyfile" in options and "certfile" not in options:
        yield f"{variable} has a keyfile without a certfile."
    of_tls = ", ".join(sorted(set(options) - {"topic_prefix"}))
    if of_tls and parts.scheme != "mqtts":
        yield f"{variable} has {of_tls}, which is for TLS: write mqtts://."
    prefix = options.get("topic_prefix", "")
    if prefix.startswith("$") or set(prefix) & set("+#"):
        what = f"{variable} has the topic_prefix {prefix!r}"
        yield f"{what}: it may not have + or #, nor begin with $."


def _client_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """Make what verifies the broker, and shows it our certificate where the URL names one."""
    __tracebackhide__ = True
    try:
        context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            # An encrypted key would make it ask at the terminal.
            context.load_cert_chain(options["certfile"], options.get("keyfile"), password="")
    except OSError as error:
        raise BrokerError(
            "the certificates that MQTT_TEST_BROKER_URL names in cafile, certfile or keyfile "
            f"cannot be read: {error.strerror or error}."
        ) from None
    return context
