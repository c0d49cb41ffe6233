"""Errors of ours as failures of tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from .errors import BrokerError


@contextlib.contextmanager
def errors_as_failures() -> Iterator[None]:
    """Turn our errors into failures without a traceback: the message says it all."""
    try:
        yield
    except BrokerError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
