"""Messages as reports show them, without the secrets in their payloads."""

from __future__ import annotations

import re

from ..broker.plugin import brokers_of_test
from ..wire.packets import MQTTMessage

LONGEST_SEARCH = 1000
"""Bytes of a payload that are searched for secrets; fewer are shown."""

_SECRETS = rb"""(?ix) ( ://[^\s/@:"']*: (?=[^\s/@"']+@) | (?:password|passwd|secret|token|api_?key)
    ["']? \s* [:=] \s* ["']? ) (?: (?<=["']) [^"']+ | [^\s"',;&@}]+ )"""
"""What is behind the user of a URL, or behind a name that tells of a secret."""


def masked(message: MQTTMessage) -> str:
    """Return *message* in words, its secrets and the passwords of brokers as ``***``."""
    topic, whole, qos, retain, _ = message
    payload, more = whole[:LONGEST_SEARCH], whole[LONGEST_SEARCH:][:1]
    for password in filter(None, (broker.password for broker in brokers_of_test())):
        payload = payload.replace(password.encode(), b"***")
    payload = re.sub(_SECRETS, rb"\1***", payload)
    return str(MQTTMessage(topic, payload + more, qos, retain))
