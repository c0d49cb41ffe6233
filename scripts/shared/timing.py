"""How long actions take, in turns where they are to be compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Seconds = list[float]
Actions = dict[str, Callable[[], object]]


def timed(action: Callable[[], object], rounds: int) -> Seconds:
    """Return how long each of *rounds* calls takes."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def take_turns(actions: Actions, turns: int, rounds: int = 1) -> dict[str, float]:
    """Return the median of each action; they take turns, so a noisy moment hits all alike."""
    seconds: dict[str, Seconds] = {name: [] for name in actions}
    for _ in range(turns):
        for name, action in actions.items():
            seconds[name] += timed(action, rounds)
    return medians(seconds)


def in_turn(actions: Actions, rounds: int) -> dict[str, float]:
    """Return the median of each action in ten turns, after one that warms up."""
    take_turns(actions, 1, rounds // 10)
    return take_turns(actions, 10, rounds // 10)


def medians(seconds: dict[str, Seconds]) -> dict[str, float]:
    """Return the median of each."""
    return {name: statistics.median(values) for name, values in seconds.items()}
