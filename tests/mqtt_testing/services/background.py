"""Threads and timers that a service starts as it is built, held until they are wanted."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..clients.lending import Lending
from ..clients.paho_internals import runs_network_loop, wake_network_loop
from ..clients.pool import SharedMQTTPool
from ..executors import stack_of
from ..interruption import end_threads, waits
from ..originals import threading
from ..threads import ThreadWatch, copy_of, target_of
from .alarm import Alarm
from .fixture import ServiceFixtureError, name_of
from .tasks import RunningFlag

LOOKS = (0.5, 0.5)
"""Seconds after which a constructor is looked at; if it waits each time, it is for what is held."""

JOIN_PATIENCE = 0.02
"""Seconds that a thread gets to end by itself when the service's cleanup waits for that."""


_waits_for_threads: dict[str, bool] = {}
"""Whether what builds a service waits for a thread of it meanwhile: an earlier test has shown."""


class BackgroundTasks:
    """The threads and timers that a service starts as it is built: held until they are wanted.

    One of them may be there to run a client's network loop. Until it does, the pool does.
    """

    def __init__(self, build: Any, pool: SharedMQTTPool, lending: Lending) -> None:
        self._builder = f"{_module_of(build)}.{name_of(build)}"
        self._package = _module_of(build).partition(".")[0]
        self._pool = pool
        self._lending = lending
        self._held: list[_HeldThread] = []
        self._running: list[threading.Thread] = []
        self._has_threads = False
        self._main: threading.Thread | None = None

    @contextlib.contextmanager
    def held_by(self, watch: ThreadWatch) -> Iterator[None]:
        """Hold the service's threads that are started inside the ``with`` block.

        If what builds the service waits for one of them, they are started, and not held any more.
        """
        before, watch.hold = watch.hold, self._hold
        with contextlib.ExitStack() as self._building:
            try:
                yield
            finally:
                watch.hold = before
        _waits_for_threads.setdefault(self._builder, False)

    def _hold(self, thread: threading.Thread) -> bool:
        if thread is self._main or runs_network_loop(thread):
            return False
        self._has_threads = True
        waits_for_it = _waits_for_threads.get(self._builder)
        is_held = not waits_for_it and self._is_of_the_service(thread)
        if is_held:
            if not self._held and waits_for_it is None:
                builder, waited = threading.current_thread(), list[bool]()
                look = functools.partial(self._start_if_awaited, builder, waited)
                steps = [(seconds, look) for seconds in LOOKS]
                self._building.enter_context(Alarm().set(*steps))
            self._held.append(_HeldThread(thread))
        return is_held

    def _start_if_awaited(self, builder: threading.Thread, waited: list[bool]) -> None:
        waited.append(waits(builder))
        if waited == [True] * len(LOOKS):
            _waits_for_threads[self._builder] = True
            self._start_held()

    def _is_of_the_service(self, thread: threading.Thread) -> bool:
        """Return whether the code that *thread* runs is the service's, and no library's."""
        code: Any = type(thread)
        if isinstance(thread, threading.Timer):
            code = thread.function
        elif code is threading.Thread:
            code = target_of(thread)
        name = _module_of(code)
        file = getattr(sys.modules.get(name), "__file__", None)
        is_of_package = name.partition(".")[0] == self._package
        return is_of_package or not (file is None or is_of_library(file))

    def start(self, flag: RunningFlag) -> None:
        """Start what was held, as the service's own constructor would have."""
        if any(thread.is_alive() for thread in self._running):
            return
        flag.set(True)
        self._start_held()

    def _start_held(self) -> None:
        self._running = [held.start() for held in self._held]

    def stop(self) -> None:
        """End what was started, and serve the clients that it served.

        Raises:
            ServiceFixtureError: one would not end; says where it stands.
        """
        had_threads, stuck = bool(self._running), self.end()
        if stuck:
            stacks = "\n".join(f"{thread.name}:\n{stack_of(thread)}" for thread in stuck)
            raise ServiceFixtureError(f"background tasks that do not end:\n{stacks}")
        if had_threads:
            self.serve_clients()

    def end(self) -> list[threading.Thread]:
        """Interrupt what was started in its sleep or wait; return what does not end."""
        threads, self._running = self._running, []
        return end_threads(threads, at_once=True, wake=self._wake_network_loops)

    def let_cleanup_join(self) -> None:
        """Let a cleanup that joins what runs wait but for a moment; then it is interrupted."""
        for thread in self._running:
            thread.join = functools.partial(_join_soon, thread)  # type: ignore[method-assign]

    def start_for_cleanup(self) -> None:
        """Start what is held, since the cleanup waits for something that it must be to do."""
        if self._held and not self._running:
            self._start_held()
            self.let_cleanup_join()

    def start_main(self, thread: threading.Thread) -> None:
        """Start the thread that is not held: the service is to run in it from the start."""
        self._main = thread
        thread.start()

    def serve_clients(self) -> None:
        """Serve the clients that a thread of the service is to serve, but does not yet."""
        if self._has_threads:
            self._pool.serve(self._lending)

    def _wake_network_loops(self) -> None:
        for client in self._lending.clients:
            wake_network_loop(client)


def _module_of(code: Any) -> str:
    """Return the name of the module in which a class or a function is defined."""
    while isinstance(code, functools.partial):
        code = code.func
    return str(getattr(code, "__module__", ""))


@functools.cache
def is_of_library(file: str) -> bool:
    """Return whether a file is Python's own, or of a package that is installed anywhere."""
    path = Path(file)
    if file.startswith(_STANDARD_LIBRARY) or {"site-packages", "dist-packages"} & {*path.parts}:
        return True
    is_in_archive = not path.exists()
    return is_in_archive or any(any(f.glob("*.dist-info")) for f in list(path.parents)[:4])


_STANDARD_LIBRARY = str(Path(threading.__file__).parent)


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
    threading.Thread.join(thread, JOIN_PATIENCE if timeout is None else min(timeout, JOIN_PATIENCE))
    if thread.is_alive():
        end_threads([thread], at_once=True)


def _join_unstarted(timeout: float | None = None) -> None:
    """Return at once: there is nothing to wait for."""


def _recipe_for(thread: threading.Thread) -> Callable[[], threading.Thread]:
    """Return what makes a thread like *thread*: one can be started once only."""
    if type(thread) is threading.Timer:
        timer = (thread.interval, thread.function, thread.args, thread.kwargs)
        return lambda: threading.Timer(*timer)
    if type(thread) is threading.Thread:
        return copy_of(thread)
    return functools.partial(_refuse_to_copy, type(thread).__name__)


def _refuse_to_copy(kind: str) -> threading.Thread:
    raise ServiceFixtureError(
        f"background tasks cannot be enabled a second time: a {kind} can be started once only"
    )
