"""A thread of our own, kept for what must not be done in the thread of a test."""

from __future__ import annotations

from collections.abc import Callable

from ..originals import queue, start_unwatched, threading

END_TIMEOUT = 5.0
"""Seconds that what it does gets in the end."""


class SpareThread:
    """Calls functions in another thread, which is started once and not for each of them.

    Usage: ``spare = SpareThread(); spare.call(act); ...; spare.close()``.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._is_busy = threading.Lock()
        self._start()  # now, as a test may mock later what one is made of

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="mqtt-test-spare", daemon=True)
        start_unwatched(self._thread)

    def call(self, act: Callable[[], object]) -> None:
        """Call *act* soon: in a thread of its own while the spare one is busy."""
        if self._is_busy.acquire(blocking=False):
            if not self._thread.is_alive():  # as after a fork
                self._start()
            self._calls.put(act)
        else:
            start_unwatched(threading.Thread(target=act, daemon=True))

    def _run(self) -> None:
        for act in iter(self._calls.get, None):  # which ends with close()
            try:
                act()
            finally:
                del act  # which may know a service
                self._is_busy.release()

    def close(self) -> None:
        """End the thread."""
        self._calls.put(None)
        self._thread.join(END_TIMEOUT)
