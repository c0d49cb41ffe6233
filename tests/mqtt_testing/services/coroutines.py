"""Coroutines of a service, held until they are wanted."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_type_hints

import pytest

from ..clients.event_loop import told
from ..originals import threading
from .fixture import ServiceFixtureError, name_of


class Gate:
    """What coroutines wait at, in whatever event loop they run."""

    def __init__(self) -> None:
        self._is_open = False
        self._waiting: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def open(self) -> None:
        """Let all go on, those included that come later."""
        with self._lock:
            self._is_open = True
            waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    @contextlib.contextmanager
    def telling(self, tell: Callable[[], object]) -> Iterator[None]:
        """Call *tell* once it is open."""
        with self._lock:
            self._waiting.append(tell)
            is_open = self._is_open
        if is_open:
            tell()
        yield


def class_built_by(build: Any) -> type | None:
    """Return the class of a service; None where a function does not say what it returns."""
    if inspect.isclass(build):
        return build
    try:
        returned = get_type_hints(build).get("return")
    except (NameError, TypeError):  # of names for type checkers alone
        return None
    return returned if inspect.isclass(returned) else None


def hold_coroutines(
    patch: pytest.MonkeyPatch, build: Any, names: Sequence[str], gate: Gate
) -> None:
    """Let the methods *names* wait for *gate* before they begin.

    Raises:
        ServiceFixtureError: there is no such method, or it is no ``async def``.
    """
    service_class = class_built_by(build)
    for name in names:
        method = getattr(service_class, name, None)
        if service_class is None or not inspect.iscoroutinefunction(method):
            raise ServiceFixtureError(
                f"hold names {name!r}, which is no `async def` method of {name_of(build)}; a "
                "function that builds the service has to say which class it returns (`-> Service`)"
            )
        patch.setattr(service_class, name, _held(method, gate))


def _held(method: Callable[..., Any], gate: Gate) -> Callable[..., Any]:
    @functools.wraps(method)
    async def wait_and_run(*args: Any, **kwargs: Any) -> Any:
        await told(gate.telling)
        return await method(*args, **kwargs)

    return wait_and_run
