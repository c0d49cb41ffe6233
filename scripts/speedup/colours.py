"""The colours of the picture and of the page, by name, for light pages and for dark ones.

Before and after are told apart by colour-blind people too. Everything that is drawn has a contrast
of 3 to its page, and what is written one of 4.5, as WCAG 2 asks for (AA).
"""

from __future__ import annotations

import re

LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "muted": "#59636e",
    "rule": "#d9dde2",
    "before": "#d55e00",
    "before-ink": "#ad4a00",
    "before-deep": "#8f3f00",
    "after": "#0072b2",
    "after-ink": "#00659e",
    "after-deep": "#00426b",
    "body": "#7d858f",
}

DARK = {
    "page": "#14171c",
    "ink": "#e8eaed",
    "muted": "#a3abb5",
    "rule": "#363c45",
    "before": "#f0883e",
    "before-ink": "#f0883e",
    "before-deep": "#b5652c",
    "after": "#58b2e8",
    "after-ink": "#58b2e8",
    "after-deep": "#3d7fa8",
    "body": "#8a929c",
}

_NAMES = {colour: name for name, colour in LIGHT.items()}
_COLOUR = re.compile("|".join(_NAMES))
_TAG = re.compile("<[^>]*>")


def by_name(drawing: str) -> str:
    """Return a drawing that takes its colours from the page that it is on."""

    def named(tag: re.Match[str]) -> str:  # in texts, a colour is one of the tests' own
        return _COLOUR.sub(lambda match: f"var(--{_NAMES[match[0]]})", tag[0])

    return _TAG.sub(named, drawing)
