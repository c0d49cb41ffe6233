"""What is on loan, and from when to when."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

from ..originals import threading


class Loan:
    """What the pool knows of a client on loan."""

    def __init__(self, *, any_address: bool) -> None:
        self.any_address = any_address
        self.is_served_by_us = False
        self.answered = threading.Event()
        self.sessions: set[str] = set()  # client ids that the broker may remember


class Lending:
    """A stretch of time in which every new client is on loan.

    From an address that it is given, a client goes to the test broker: from any, or, once
    *any_address* is False, from the ports of MQTT alone.
    """

    def __init__(self) -> None:
        self.clients: list[Any] = []
        self.any_address = True
        self._listeners: list[Callable[[], object]] = []

    @contextlib.contextmanager
    def telling(self, tell: Callable[[], object]) -> Iterator[None]:
        """Call *tell* each time that the broker lets one of the clients in, or refuses it."""
        self._listeners.append(tell)
        try:
            yield
        finally:
            self._listeners.remove(tell)

    def answered(self) -> None:
        """Tell that the broker has answered a client."""
        for tell in tuple(self._listeners):
            tell()
