"""What a method returns where an event loop runs: to be awaited, or to say so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

_Failed: Any = pytest.fail.Exception


class Failed(_Failed, AssertionError):  # type: ignore[misc]
    """A failure to pytest, and an AssertionError to an event loop and to ``except Exception``."""

    __module__ = "builtins"  # as pytest's own, for reports


class Wait(Coroutine[Any, Any, Any]):
    """A coroutine that refuses what can be done with its result, and knows whether it has begun.

    Args:
        call: how it was called, for messages.
        begin: makes the coroutine that it stands for.
    """

    def __init__(self, call: str, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._call = self.__qualname__ = call  # by which a task of it is named
        self._begin = begin
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._is_refused = False
        frame = inspect.currentframe()
        caller = frame.f_back.f_back if frame and frame.f_back else None
        self._place = f"{caller.f_code.co_filename}:{caller.f_lineno}" if caller else "?"

    @property
    def is_forgotten(self) -> bool:
        """Return whether it was neither awaited nor used in another way."""
        return self._coroutine is None and not self._is_refused

    @property
    def advice(self) -> str:
        """What to write instead."""
        return (
            f"{self._call} was called where an event loop runs, and not awaited, at {self._place}. "
            f"Write `await {self._call}`: the event loop of the service has to go on meanwhile"
        )

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            self._coroutine = self._begin()
        return self._coroutine

    def __await__(self) -> Any:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        """Go on with it, as a task does."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error where it stands."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """End it."""
        self._begun().close()

    def _refuse(self, *_args: object) -> Any:
        __tracebackhide__ = True
        self._is_refused = True
        raise Failed(self.advice)

    __len__ = __iter__ = __getitem__ = __contains__ = __reversed__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = _refuse
    __hash__ = Coroutine.__hash__

    def __bool__(self) -> bool:
        """Refuse, but for asyncio, which looks whether a task has a coroutine (Python 3.13)."""
        __tracebackhide__ = True
        frame = inspect.currentframe()
        name = frame.f_back.f_globals.get("__name__", "") if frame and frame.f_back else ""
        return name.startswith("asyncio.") or bool(self._refuse())

    def __getattr__(self, name: str) -> Any:
        """Refuse what the result may have; what asyncio asks of a coroutine it has not."""
        if not name.startswith(("_", "cr_", "gi_")):
            self._is_refused = True
            raise AttributeError(self.advice)
        raise AttributeError(name)
