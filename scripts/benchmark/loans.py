"""Many loans in one process: what they take, and what they leave."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.modules import SharedMQTTPool, TestMQTTBroker, memory_of
from shared.timing import Actions, Seconds, take_turns

from .clients import connect_and_disconnect


@dataclass(frozen=True)
class Resources:
    """What grows where something leaks; memory is in KiB. None: this system does not tell."""

    threads: int
    descriptors: int | None
    memory: int | None

    def __str__(self) -> str:
        known = [self.threads, *("?" if x is None else x for x in (self.descriptors, self.memory))]
        return "{} threads, {} descriptors, {} KiB".format(*known)


def resources() -> Resources:
    """Count what this process has at present."""
    gc.collect()
    descriptors = Path("/proc/self/fd")
    count = len(list(descriptors.iterdir())) if descriptors.exists() else None
    return Resources(threading.active_count(), count, memory_of("self"))


@dataclass(frozen=True)
class ManyLoans:
    """What many loans in one process took, and what they left."""

    before: Resources
    after: Resources
    medians: Seconds  # of each tenth of them
    bare_medians: Seconds  # of bare clients that came and went meanwhile

    @property
    def slowdown(self) -> float:
        """How much longer the last tenth took than the first, each compared with bare clients."""
        ratios = [loan / bare for loan, bare in zip(self.medians, self.bare_medians)]
        return ratios[-1] / ratios[0]


def time_many_loans(loans: int, progress: Callable[[int], None] = lambda _done: None) -> ManyLoans:
    """Lend and take back a client so many times, and tell *progress* how many are done."""
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        tenth = max(1, loans // 10)
        actions: Actions = {
            "loan": lambda: pool.release(pool.acquire()),
            "bare": lambda: connect_and_disconnect(broker),
        }
        take_turns(actions, max(1, tenth // 10))  # to warm up
        before = resources()
        medians, bare_medians = [], []
        for number in range(10):
            of_tenth = take_turns(actions, tenth)
            medians.append(of_tenth["loan"])
            bare_medians.append(of_tenth["bare"])
            progress((number + 1) * tenth)
        return ManyLoans(before, resources(), medians, bare_medians)
