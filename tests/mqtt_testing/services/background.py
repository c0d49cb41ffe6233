"""Threads and timers that a service starts as it is built, held until they are wanted."""

from __future__ import annotations

import contextlib
import functools
import sys
import sysconfig
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ..clients.network_loop import wake_network_loop
from ..clients.pool import Lending, SharedMQTTPool
from ..originals import Thread, Timer
from .errors import ServiceFixtureError
from .executors import end_threads, stack_of
from .running_flag import RunningFlag

CLEANUP_PATIENCE = 0.2
"""Seconds after which a cleanup is taken to wait for a thread of the service that is held."""

JOIN_PATIENCE = 0.02
"""Seconds that a thread gets to end by itself when the service's cleanup waits for that."""

_LIBRARIES = tuple(sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib"))
"""Where the code is that starts threads of its own: paho's network loop, an executor's worker."""


class BackgroundTasks:
    """The threads and timers that a service starts as it is built: held until they are wanted.

    One of them may be there to run a client's network loop. Until it does, the pool does.
    """

    def __init__(self, service_class: type, pool: SharedMQTTPool, lending: Lending) -> None:
        self._package = service_class.__module__.partition(".")[0]
        self._pool = pool
        self._lending = lending
        self._held: list[_HeldThread] = []
        self._running: list[threading.Thread] = []
        self._has_threads = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the service's threads that are started inside the ``with`` block."""
        start = threading.Thread.start

        def hold_or_start(thread: threading.Thread) -> None:
            self._has_threads |= not _is_of_loop_start(thread)
            if self._is_of_the_service(thread):
                self._held.append(_HeldThread(thread))
            else:  # of a library: paho's network loop, an executor's worker
                start(thread)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", hold_or_start)
            yield

    def _is_of_the_service(self, thread: threading.Thread) -> bool:
        code: Any = type(thread)
        if isinstance(thread, Timer):
            code = thread.function
        elif code is Thread:
            code = getattr(thread, "_target", None)
        while isinstance(code, functools.partial):
            code = code.func
        name = str(getattr(code, "__module__", ""))
        file = getattr(sys.modules.get(name), "__file__", None) or _LIBRARIES[0]
        return name.partition(".")[0] == self._package or not file.startswith(_LIBRARIES)

    def start(self, flag: RunningFlag) -> None:
        """Start what was held, as the service's own constructor would have."""
        if any(thread.is_alive() for thread in self._running):
            return
        flag.set(True)
        self._running = [held.start() for held in self._held]

    def stop(self) -> None:
        """End what was started; each is interrupted in its sleep or wait.

        Raises:
            ServiceFixtureError: one would not end; says where it stands.
        """
        threads, self._running = self._running, []
        if not threads:
            return
        stuck = end_threads(threads, at_once=True, wake=self._wake_network_loops)
        if stuck:
            stacks = "\n".join(f"{thread.name}:\n{stack_of(thread)}" for thread in stuck)
            raise ServiceFixtureError(f"background tasks that do not end:\n{stacks}")
        self.serve_clients()

    def get_ready_for_cleanup(self, patch: pytest.MonkeyPatch) -> None:
        """Let the service's cleanup talk to its threads, and wait for them, without a hang.

        Those that run end when they are joined. Those that are held start if the cleanup waits
        for something so long that it must be for them.
        """
        self._have_joined_soon()
        wait, cleaning = threading.Condition.wait, threading.current_thread()

        def wait_or_start(condition: threading.Condition, timeout: float | None = None) -> bool:
            is_short = timeout is not None and timeout <= CLEANUP_PATIENCE
            if (
                is_short
                or self._running
                or not self._held
                or threading.current_thread() is not cleaning
            ):
                return wait(condition, timeout)
            if wait(condition, CLEANUP_PATIENCE):
                return True
            self._running = [held.start() for held in self._held]
            self._have_joined_soon()
            return wait(condition, None if timeout is None else timeout - CLEANUP_PATIENCE)

        patch.setattr(threading.Condition, "wait", wait_or_start)

    def _have_joined_soon(self) -> None:
        for thread in self._running:
            thread.join = functools.partial(_join_soon, thread)  # type: ignore[method-assign]

    def serve_clients(self) -> None:
        """Have the clients served that a thread of the service is to serve, but does not yet."""
        if self._has_threads:
            self._pool.serve(self._lending)

    def _wake_network_loops(self) -> None:
        for client in self._lending.clients:
            wake_network_loop(client)


def _is_of_loop_start(thread: threading.Thread) -> bool:
    """Say whether paho starts a thread for the network loop of a client."""
    return getattr(getattr(thread, "_target", None), "__name__", "") == "_thread_main"


class _HeldThread:
    """A thread that its service believes to be started."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread: threading.Thread | None = thread
        self._again = _recipe_for(thread)
        # The service may join it as it ends, which an unstarted thread does not allow.
        thread.join = _join_unstarted  # type: ignore[method-assign]

    def start(self) -> threading.Thread:
        """Start the thread itself, and a copy of it any further time."""
        thread, self._thread = self._thread, None
        if thread is None:
            thread = self._again()
        vars(thread).pop("join", None)
        thread.start()
        return thread


def _join_soon(thread: threading.Thread, timeout: float | None = None) -> None:
    """Join a thread that was told to end, and interrupt it where it sleeps on."""
    Thread.join(thread, JOIN_PATIENCE if timeout is None else min(timeout, JOIN_PATIENCE))
    if thread.is_alive():
        end_threads([thread], at_once=True)


def _join_unstarted(timeout: float | None = None) -> None:
    """Return at once: there is nothing to wait for."""


def _recipe_for(thread: threading.Thread) -> Callable[[], threading.Thread]:
    """Say how to make a thread like *thread*: one can be started once only."""
    if type(thread) is threading.Timer:
        timer = (thread.interval, thread.function, thread.args, thread.kwargs)
        return lambda: threading.Timer(*timer)
    if type(thread) is threading.Thread:
        return functools.partial(
            threading.Thread,
            target=thread._target,  # type: ignore[attr-defined]
            args=thread._args,  # type: ignore[attr-defined]
            kwargs=thread._kwargs,  # type: ignore[attr-defined]
            name=thread.name,
        )
    return functools.partial(_refuse_to_copy, type(thread).__name__)


def _refuse_to_copy(kind: str) -> threading.Thread:
    raise ServiceFixtureError(
        f"background tasks cannot be enabled a second time: a {kind} can be started once only"
    )
