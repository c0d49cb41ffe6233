"""Acts on what takes too long, from another thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ..clients.spare_thread import SpareThread
from ..originals import threading

STEP_TIMEOUT = 5.0
"""Seconds that a step gets which is being taken as all is over."""


class Alarm:
    """Calls functions while something takes too long, once.

    Make it before a test can put a mock in the place of what an event is made of.

    Usage: ``with Alarm(spare).set((0.2, start_threads), (2.0, interrupt_all)): clean_up()``.
    """

    def __init__(self, spare: SpareThread) -> None:
        self._spare = spare
        self._over = threading.Event()
        self._acting = threading.Lock()

    @contextlib.contextmanager
    def set(self, *steps: tuple[float, Callable[[], object]]) -> Iterator[None]:
        """Take *steps* until the ``with`` block ends: seconds to wait, and what is called then."""
        self._spare.call(lambda: self._take(steps))
        try:
            yield
        finally:
            self._over.set()
            if self._acting.acquire(timeout=STEP_TIMEOUT):
                self._acting.release()

    def _take(self, steps: tuple[tuple[float, Callable[[], object]], ...]) -> None:
        for seconds, act in steps:
            if self._over.wait(seconds):
                return
            with self._acting:
                if not self._over.is_set():
                    act()
