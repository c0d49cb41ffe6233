"""Connections that are led nowhere: those of the kit, and those that were led already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..originals import threading

_in_this_thread = threading.local()


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """Leave the connections alone that this thread opens in the block."""
    before, _in_this_thread.is_left_alone = are_left_alone(), True
    try:
        yield
    finally:
        _in_this_thread.is_left_alone = before


def are_left_alone() -> bool:
    """Return whether the connections that this thread opens now are left alone."""
    return getattr(_in_this_thread, "is_left_alone", False)
