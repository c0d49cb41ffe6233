"""Messages as reports show them, without the secrets in them."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from ..broker.plugin import brokers_of_test
from ..wire.packets import MQTTMessage

LONGEST_SEARCH = 1000
"""Bytes of a payload that are searched for secrets; fewer are shown."""

_IN_URL = rb"""(?x) ( ://[^\s/:@"']*: ) [^\s/"']+ (?=@)"""

_NAMED = rb"""(?isx)
    ( \b bearer \s+ | (?:
        (?: passwor[dt] | pass(?:wd|phrase|code) | pwd | secret | token | credential | authorization
          | (?:api|access|private)[_-]?key ) [\w-]*  |  (?<![a-z]) (?:pass|psk)
      ) \\*["']? \s* [:=>]+ \s* (?: (?:basic|bearer) \s+ )? (\\*["'])? )
    (?(2) (?: (?!(?<!\\)\2) . )+ | (?: [\[{].* | [^\s"',;&<}]+ ) )"""
"""What is behind a name that tells of a secret.

A string goes on to the quote that ends it, and that has as many backslashes before it as the first.
Of a list or an object nothing is shown, nor of what follows it.
"""


def without_secrets(text: bytes) -> bytes:
    """Return *text* with its secrets and the passwords of brokers as ``***``."""
    for password in filter(None, (broker.password for broker in brokers_of_test())):
        in_json = [json.dumps(password, ensure_ascii=escaped)[1:-1] for escaped in (True, False)]
        for form in (password, *in_json, quote(password, safe="")):
            text = text.replace(form.encode(), b"***")
    for secrets in (_IN_URL, _NAMED):
        text = re.sub(secrets, rb"\1***", text)
    return text


def masked(message: MQTTMessage) -> str:
    """Return *message* in words, without its secrets."""
    topic, whole, qos, retain, _ = message
    payload, is_longer = without_secrets(whole[:LONGEST_SEARCH]), len(whole) > LONGEST_SEARCH
    topic = without_secrets(topic.encode()).decode()
    return str(MQTTMessage(topic, payload + b"..." * is_longer, qos, retain))
