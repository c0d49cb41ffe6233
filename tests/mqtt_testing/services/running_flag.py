"""The attribute by which a service knows whether it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..originals import Event


class RunningFlag:
    """The attribute by which a service knows whether it runs: a bool, or an Event."""

    def __init__(self, service: Any, names: Sequence[str]) -> None:
        self._service = service
        self._name = next((name for name in names if self._is_flag(name)), None)

    def _is_flag(self, name: str) -> bool:
        return isinstance(vars(self._service).get(name), (bool, Event))

    def get(self) -> bool:
        """Return whether the service thinks that it runs; one without a flag does."""
        if self._name is None:
            return True
        value = getattr(self._service, self._name)
        return value.is_set() if isinstance(value, Event) else bool(value)

    def set(self, running: bool) -> None:
        """Let the service think that it runs, or that it does not."""
        if self._name is None:
            return
        value = getattr(self._service, self._name)
        if not isinstance(value, Event):
            setattr(self._service, self._name, running)
        elif running:
            value.set()
        else:
            value.clear()

    @contextlib.contextmanager
    def set_meanwhile(self) -> Iterator[None]:
        """Let tasks run that begin with a look at the flag."""
        before = self.get()
        self.set(True)
        try:
            yield
        finally:
            if not before:
                self.set(False)
