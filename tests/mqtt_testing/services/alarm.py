"""Acts on what takes too long, from a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ..originals import start_unwatched, threading

JOIN_TIMEOUT = 5.0


class Alarm:
    """Calls functions while something takes too long.

    Make it before a test can put a mock in the place of what a thread is made of.

    Usage: ``with Alarm().set((0.2, start_threads), (2.0, interrupt_all)): clean_up()``.
    """

    def __init__(self) -> None:
        self._steps: tuple[tuple[float, Callable[[], object]], ...] = ()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take_steps, daemon=True)

    @contextlib.contextmanager
    def set(self, *steps: tuple[float, Callable[[], object]]) -> Iterator[None]:
        """Take *steps* until the ``with`` block ends: seconds to wait, and what is called then."""
        self._steps = steps
        start_unwatched(self._thread)
        try:
            yield
        finally:
            self._over.set()
            self._thread.join(JOIN_TIMEOUT)
            self._steps = ()  # which know the service

    def _take_steps(self) -> None:
        for seconds, act in self._steps:
            if self._over.wait(seconds):
                return
            act()
