"""Acts on what takes too long, from a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ..originals import Event
from ..threads import start_unwatched


@contextlib.contextmanager
def alarm(*steps: tuple[float, Callable[[], object]]) -> Iterator[None]:
    """Call functions while the ``with`` block takes too long.

    Usage: ``with alarm((0.2, start_threads), (2.0, interrupt_all)): clean_up()``.

    Args:
        *steps: seconds to wait after the step before, and what is called then.
    """
    over = Event()

    def take_steps() -> None:
        for seconds, act in steps:
            if over.wait(seconds):
                return
            act()

    thread = start_unwatched(take_steps)
    try:
        yield
    finally:
        over.set()
        thread.join()
