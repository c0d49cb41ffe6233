"""Acts on what takes too long, from a thread of its own."""

from __future__ import annotations

import _thread
import contextlib
from collections.abc import Callable, Iterator

from ..originals import start_unwatched, threading, time

JOIN_TIMEOUT = 5.0

LOOK_INTERVAL = 0.1
"""Seconds between two looks at what is set; an alarm's first step may come no sooner."""

LOOKS_IN_VAIN = 10
"""Looks at which nothing was set, after which there are no more."""


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
        _lookout.add(self, time.monotonic() + steps[0][0])
        try:
            yield
        finally:
            _lookout.remove(self)
            self._over.set()
            if self._thread.ident is not None:
                self._thread.join(JOIN_TIMEOUT)
            self._steps = ()  # which know the service

    def start(self) -> None:
        """Take the first step, whose time has come, and then the others."""
        start_unwatched(self._thread)

    def _take_steps(self) -> None:
        (_, first), *later = self._steps
        for seconds, act in ((0.0, first), *later):
            if self._over.wait(seconds):
                return
            act()


class _Lookout:
    """Starts each alarm when its time has come.

    A thread for each alarm would cost each test eight switches from one thread to another. This
    one waits for nothing that a test has to tell it, and ends when no more alarms are set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._times: dict[Alarm, float] = {}
        self._looks_left = 0

    def add(self, alarm: Alarm, when: float) -> None:
        with self._lock:
            if not self._looks_left:
                # No Thread: a test that counts those has to find as many as before.
                _start_bare_thread(self._look, ())
            self._looks_left = LOOKS_IN_VAIN
            self._times[alarm] = when

    def remove(self, alarm: Alarm) -> None:
        """Let *alarm* be started no more, and await that it is if that happens just now."""
        with self._lock:
            self._times.pop(alarm, None)

    def _look(self) -> None:
        while seconds := self._start_what_is_due():
            self._pause.wait(seconds)

    def _start_what_is_due(self) -> float:
        """Return the seconds to the next look, 0 if there is none."""
        with self._lock:
            now = time.monotonic()
            for alarm in [alarm for alarm, when in self._times.items() if when <= now]:
                with contextlib.suppress(RuntimeError):  # too many threads: at the next look again
                    alarm.start()
                    del self._times[alarm]
            self._looks_left = LOOKS_IN_VAIN if self._times else self._looks_left - 1
            if not self._looks_left:
                return 0.0
            later = (when - now for when in self._times.values() if when > now)
            return min([LOOK_INTERVAL, *later])


_start_bare_thread = _thread.start_new_thread

_lookout = _Lookout()
