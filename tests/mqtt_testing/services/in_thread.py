"""A method of a service that goes on until the service ends, in a thread of its own."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..clients import limits
from ..clients import paho_internals as paho
from ..clients.lending import Lending
from ..clients.listeners import ClientListener
from ..clients.network_loop import stay_in_loop
from ..clients.pool import SharedMQTTPool
from ..interruption import await_rest
from ..originals import threading, time
from .coroutines import class_built_by
from .fixture import ServiceFixtureError

PATIENCE = 1.0
"""Seconds that a method gets that has connected no client of paho."""


def runs_in_thread(build: Any, run: str | None) -> bool:
    """Return whether the method *run* of a service is an ordinary one, and no ``async def``."""
    method = getattr(class_built_by(build), run or "", None)
    return callable(method) and not inspect.iscoroutinefunction(inspect.unwrap(method))


def state_of(lending: Lending) -> list[tuple[bool, int]]:
    """Return how far the clients are; it stays as it is once they have nothing more to do."""
    return [(paho.is_connected(c), paho.last_packet_id(c)) for c in lending.clients]


class MainThread:
    """The thread that runs such a method."""

    def __init__(self, method: Callable[[], Any], name: str) -> None:
        self._name = name
        self._error: Exception | None = None
        self._is_starting = True
        self._over = threading.Event()
        full_name = getattr(method, "__qualname__", name)
        self.thread = threading.Thread(
            target=self._run, args=(method,), name=full_name, daemon=True
        )

    def _run(self, method: Callable[[], Any]) -> None:
        try:
            method()
        except Exception as error:
            self._error = error
            if not self._is_starting:
                raise
        finally:
            self._over.set()

    def await_rest(self, pool: SharedMQTTPool, lending: Lending) -> None:
        """Return once it waits, its clients connected and their subscriptions in force.

        Raises:
            ServiceFixtureError: it has returned.
        """
        begin, before = time.monotonic(), None
        while not self._over.is_set() and time.monotonic() < begin + limits.TIMEOUT:
            await_rest([self.thread])
            pool.await_connections(lending)
            now = state_of(lending)
            is_connected = any(connected for connected, _ in now)
            if now == before and (is_connected or time.monotonic() > begin + PATIENCE):
                break
            before = now
            if not is_connected:
                self._over.wait(limits.LOOK_INTERVAL)
        self._is_starting = False
        if self._error is not None:
            raise self._error
        if self._over.is_set():
            raise ServiceFixtureError(
                f"{self._name}() has returned: name it start, or make it `async def`"
            )


class _NoLoopHere(ClientListener):
    """Refuses a network loop in the thread that builds a service, which would never go on."""

    def __init__(self, start: str | None) -> None:
        self._thread = threading.current_thread()
        self._remedy = (
            f"service_fixture(..., run={start!r}) in place of start={start!r}"
            if start
            else "service_fixture(..., run='the_method')"
        )

    def served(self, client: Any) -> None:
        stay = stay_in_loop(client)
        if stay is not None and stay.thread is self._thread:
            raise pytest.fail.Exception(
                "the service called loop_forever() as it was built or started, and would go on "
                f"with that until it ends. {self._remedy} lets a method do so in a thread",
                pytrace=False,
            )


@contextlib.contextmanager
def no_loop_here(start: str | None) -> Iterator[None]:
    """Fail the test where this thread is about to run a network loop for good in the block.

    Args:
        start: the method that is called in it.
    """
    with _NoLoopHere(start).active():
        yield
