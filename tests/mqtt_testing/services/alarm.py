"""Acts on what takes too long, from a thread of its own."""

from __future__ import annotations

import _thread
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
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._take_steps, daemon=True)

    @contextlib.contextmanager
    def set(self, *steps: tuple[float, Callable[[], object]]) -> Iterator[None]:
        """Take *steps* until the ``with`` block ends: seconds to wait, and what is called then."""
        self._steps = steps
        # A bare thread: a Thread costs each test two switches from one thread to another.
        _start_bare_thread(self._start_late, (steps[0][0],))
        try:
            yield
        finally:
            with self._starting:
                self._over.set()
            if self._thread.ident is not None:
                self._thread.join(JOIN_TIMEOUT)
            self._steps = ()  # which know the service

    def _start_late(self, seconds: float) -> None:
        if not self._over.wait(seconds):
            with self._starting:
                if not self._over.is_set():
                    start_unwatched(self._thread)

    def _take_steps(self) -> None:
        (_, act), *later = self._steps
        act()
        for seconds, act in later:
            if self._over.wait(seconds):
                return
            act()


_start_bare_thread = _thread.start_new_thread
