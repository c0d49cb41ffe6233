"""What a service starts and leaves: threads, executors, processes, programs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..clients.lending import Lending
from ..clients.network_loop import network_loop_of
from ..clients.paho_internals import leaves_callback
from ..clients.pool import SharedMQTTPool
from ..executors import ConcurrentFuturesFix, futures_fix, let_go, stack_of
from ..interruption import GRACE, end_threads, silence
from ..originals import threading
from ..threads import ThreadWatch, end_pools, process_pools
from .programs import Programs

ROUNDS = 5
"""Attempts to end its threads, each of which may start another as it ends; one as a rule."""


class Leftovers:
    """Notes what is started in a ``with`` block, and ends it.

    Args:
        pool: whose shared connection is none of the service's.
        ends: whether it is ended, and not only noted.
    """

    def __init__(self, pool: SharedMQTTPool, *, ends: bool) -> None:
        self.watch = ThreadWatch()
        self.named: list[str] = []
        """What did not end in time, or does not, with its stack."""
        self._pool = pool
        self._ends = ends
        self._is_overdue = False
        self._fix = ConcurrentFuturesFix()
        self._programs = Programs()
        self._processes_before = _child_processes()
        self._pools_before = process_pools()
        self._life = contextlib.ExitStack()

    def __enter__(self) -> Leftovers:
        self._life.enter_context(self.watch)
        if self._ends:
            self._life.enter_context(self._fix)
            self._life.enter_context(self._programs)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        with self._life:
            if self._ends:
                self._end()
        self.named += self._fix.stuck

    def _end(self) -> None:
        workers = self._end_processes()
        seen: set[threading.Thread] = set()
        for _ in range(ROUNDS):
            left = (workers | self._threads(self.watch.own)) - seen
            if not left:
                return
            at_once = self._is_overdue or bool(seen)
            stuck = end_threads(left, at_once=at_once, wake=self._kill)
            self._fix.give_up(workers.intersection(stuck), "its executor was shut down")
            self._give_up(stuck)
            seen |= left
        self._give_up(self._threads(self.watch.own))

    def interrupt(self) -> None:
        """Interrupt all that the service's own cleanup may wait for, be it another's as well."""
        if self._ends:
            self._is_overdue = True
            workers = self._end_processes()
            end_threads(workers | self._threads(self.watch.alive), at_once=True, wake=self._kill)

    def _end_processes(self) -> set[threading.Thread]:
        """End processes, as threads may wait for them; return the threads of executors."""
        silence(self._threads(self.watch.own))  # of which one may wait for what is ended before it
        end_pools(pool for pool in process_pools() if pool not in self._pools_before)
        workers: set[threading.Thread] = self._fix.shut_down()
        self._kill()
        return workers

    def _threads(self, noted: Iterable[threading.Thread]) -> set[threading.Thread]:
        alive = set(noted) - {self._pool.network_loop}
        return alive and alive - self._of_others(futures_fix.threads_of)

    def _of_others(self, parts_of: Callable[[Any], Iterable[Any]]) -> set[Any]:
        """Return the threads, or processes, of the executors that are none of the service's."""
        others = (e for e in futures_fix.all_executors() if not self._fix.owns(e))
        return {part for executor in others for part in parts_of(executor)}

    def _kill(self) -> None:
        self._programs.end()
        new = _child_processes() - self._processes_before
        mine = new and new - self._of_others(futures_fix.processes_of)
        futures_fix.kill([process for process in mine if "PoolWorker" not in process.name])

    def _give_up(self, stuck: Any) -> None:
        self.named += [
            f"thread {thread.name} runs on. Let its loop look at a flag, or its wait time out, "
            f"when the service is cleaned up. It stands in:\n{stack_of(thread)}"
            for thread in stuck
            if let_go(thread)
        ]


def _child_processes() -> set[Any]:
    multiprocessing: Any = sys.modules.get("multiprocessing")
    return set(multiprocessing.active_children()) if multiprocessing else set()


def interrupt_callbacks(lending: Lending) -> None:
    """End the callbacks in which a network loop has got stuck: it could not end either."""
    stuck = [client for client in lending.clients if not leaves_callback(client, GRACE)]
    threads = [network_loop_of(client) for client in stuck]
    end_threads([thread for thread in threads if thread], at_once=True)
