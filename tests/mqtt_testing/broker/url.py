"""The URL of a broker that runs already, as in MQTT_TEST_BROKER_URL."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from .errors import BrokerError

DEFAULT_PORTS: Mapping[str, int] = {"mqtt": 1883, "mqtts": 8883}

OPTIONS = ("cafile", "certfile", "keyfile", "topic_prefix")


def split_broker_url(url: str) -> SplitResult:
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
    if parts.scheme not in DEFAULT_PORTS:
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


def options_of_broker_url(parts: SplitResult) -> dict[str, str]:
    """Return what the URL says behind its question mark.

    Raises:
        BrokerError: what it says is no option, or contradicts the rest.
    """
    __tracebackhide__ = True

    def refuse(why: str) -> None:
        __tracebackhide__ = True
        raise BrokerError(f"MQTT_TEST_BROKER_URL {why}.")

    # A plus is one, in the path of a file: these are no forms.
    query = parts.query.replace("+", "%2B")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        refuse(f"has the options {', '.join(unknown)}; it may have {', '.join(OPTIONS)}")
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


def client_context(options: Mapping[str, str]) -> ssl.SSLContext:
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
