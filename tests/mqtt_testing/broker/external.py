"""A broker that runs already, named by MQTT_TEST_BROKER_URL."""

from __future__ import annotations

import os
from typing import Union
from urllib.parse import unquote

from ..wire.endpoint import MQTTEndpoint, address
from .connections import READY_ID_PREFIX
from .errors import BrokerError
from .process import START_TIMEOUT, TestMQTTBroker
from .url import DEFAULT_PORTS, client_context, options_of_broker_url, split_broker_url


class ExternalMQTTBroker(MQTTEndpoint):
    """A broker that runs already and is not ours; from ``MQTT_TEST_BROKER_URL``.

    It has to speak MQTT 5.

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
        parts = split_broker_url(url.strip())
        options = options_of_broker_url(parts)
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(4).hex()
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        prefix = options.get("topic_prefix", "mqtt-test").rstrip("/")
        super().__init__(
            parts.hostname or "",
            parts.port or DEFAULT_PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            ssl_context=client_context(options) if parts.scheme == "mqtts" else None,
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

    def start(self) -> None:
        """Check that the broker answers, since starting it is not ours.

        Raises:
            BrokerError: it does not.
        """
        self.wait_for_ready()

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
            raise BrokerError(
                f"MQTT connection failed: the broker of MQTT_TEST_BROKER_URL at "
                f"{address(self)} {reason}"
            )
        return True

    def _refusal(self, code: int | None) -> str:
        """Return why it does not let us in; empty where it does, or leaves others a chance."""
        if code is None:
            return f"does not answer a CONNECT of MQTT 5 with a CONNACK. {_CHECK_IT}"
        if code in UNSUPPORTED_PROTOCOL:
            return "does not speak MQTT 5, which the tests need: use a broker that does."
        if code in SERVER_UNAVAILABLE:
            return "says that it is not available: wait for it, or look at its log."
        if code not in BAD_CREDENTIALS:
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


# Codes of a CONNACK, of MQTT 3.1.1 and of MQTT 5
UNSUPPORTED_PROTOCOL = (1, 0x84)
SERVER_UNAVAILABLE = (3, 0x88)
BAD_CREDENTIALS = (4, 5, 0x86, 0x87)

_CHECK_IT = (
    "Check that the test broker is running and speaks MQTT 5, whether it is mqtt:// or mqtts://, "
    "and what certificates it takes (?cafile=PATH); or unset the variable to have one started."
)


# Evaluated at run time, on every Python: the alias is for annotations in users' suites as well.
SessionBroker = Union[TestMQTTBroker, ExternalMQTTBroker]
