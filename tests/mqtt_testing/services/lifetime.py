"""One service in one test: built, run by hand, ended."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ..clients.lending import Lending
from ..clients.paho_internals import is_connected
from ..clients.plugin import PREFIX_VARIABLES
from ..clients.pool import SharedMQTTPool
from ..interruption import event_loop_of
from ..originals import os
from ..wire.endpoint import MQTTEndpoint
from .alarm import Alarm
from .background import BackgroundTasks
from .cleanup import Cleanup
from .coroutines import Gate, class_built_by, hold_coroutines
from .fixture import Handling, Names, ServiceFixtureError, Usual, as_tuple
from .in_thread import MainThread, no_loop_here, runs_in_thread
from .leftovers import Leftovers, interrupt_callbacks
from .tasks import RunningFlag, awaited, awaited_in, finished

if TYPE_CHECKING:
    import asyncio
    import threading

HOST_VARIABLES = ("MQTT_BROKER", "MQTT_HOST", "MQTT_BROKER_HOST", "MQTT_SERVER")

PORT_VARIABLES = ("MQTT_PORT", "MQTT_BROKER_PORT")


class ServiceUnderTest:
    """One service in one test: how it is built, run by hand, and ended."""

    def __init__(self, build: Any, handling: Handling, leaks_on_purpose: bool) -> None:
        self._build = build
        self._handling = handling
        self._runs_in_thread = runs_in_thread(build, handling.run)
        self._leaks_on_purpose = leaks_on_purpose
        self._cleaned_up = False
        self._alarm = Alarm()
        self.service: Any = None
        self.tasks_run: set[str] = set()
        self.leaks: Sequence[str] = ()
        self._gate = Gate()
        self._threads: Callable[[], Sequence[threading.Thread]] = list
        self.is_connected: bool | None = None
        """Whether it had connected a client when the test began; None before that."""

    @property
    def tasks(self) -> Mapping[str, Names]:
        """What can be run by hand."""
        return self._handling.tasks

    def needs_loop(self) -> bool:
        """Return whether the service cannot be built and started outside of an event loop."""
        start = getattr(class_built_by(self._build), self._handling.start or "", None)
        is_async = map(inspect.iscoroutinefunction, (self._build, start))
        runs_as_task = self._handling.run is not None and not self._runs_in_thread
        return runs_as_task or any(is_async)

    @contextlib.contextmanager
    def living(self, pool: SharedMQTTPool, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Build the service, and end it with the ``with`` block."""
        with self._surroundings(pool) as (leftovers, lending, background):
            try:
                with background.held_by(leftovers.watch):
                    with no_loop_here(self._handling.start):
                        self.service = self._build(**arguments)
                        finished(self._started())
                    self._run_in_thread(background, pool, lending)
                self._equip(background, lending)
                background.serve_clients()
                pool.await_connections(lending)
                self._note_connections(lending)
                yield
            finally:
                if self.service is not None:
                    self._clean_up(background, leftovers)

    @contextlib.contextmanager
    def _surroundings(
        self, pool: SharedMQTTPool
    ) -> Iterator[tuple[Leftovers, Lending, BackgroundTasks]]:
        """Watch what a service starts, and end it with the ``with`` block."""
        leftovers = Leftovers(pool, ends=not self._leaks_on_purpose)
        self.leaks = leftovers.named
        self._threads = lambda: leftovers.watch.alive
        with contextlib.ExitStack() as life:
            life.enter_context(_environment(pool.endpoint))
            patch = life.enter_context(pytest.MonkeyPatch.context())
            hold_coroutines(patch, self._build, self._handling.hold, self._gate)
            life.enter_context(leftovers)
            lending = life.enter_context(pool.lending())
            background = BackgroundTasks(self._build, pool, lending)
            life.callback(interrupt_callbacks, lending)
            life.callback(background.end)
            yield leftovers, lending, background

    def _started(self) -> Any:
        """Call the method that starts the service, if one is named; return what that returns."""
        name = self._method("start", self._handling.start)
        return getattr(self.service, name)() if name else None

    def _run_in_thread(
        self, background: BackgroundTasks, pool: SharedMQTTPool, lending: Lending
    ) -> None:
        """Run the method that goes on until the service ends, if it is no ``async def``."""
        if self._runs_in_thread:
            name = self._method("run", self._handling.run)
            main = MainThread(getattr(self.service, name), name)
            background.start_main(main.thread)
            main.await_rest(pool, lending)

    def _note_connections(self, lending: Lending) -> None:
        self.is_connected = any(is_connected(client) for client in lending.clients)

    def _method(self, option: str, names: Names | None) -> str:
        """Return the first of *names* that is a method of the service; empty if none has to be."""
        found = [name for name in as_tuple(names) if callable(getattr(self.service, name, None))]
        if not found and names and not isinstance(names, Usual):
            raise self._unknown(option, names, "method")
        return found[0] if found else ""

    def _unknown(self, option: str, names: Names, kind: str) -> ServiceFixtureError:
        import difflib

        wanted = as_tuple(names)
        close = [n for name in wanted for n in difflib.get_close_matches(name, dir(self.service))]
        which = " or ".join(map(repr, wanted))
        there = f" Is it {' or '.join(map(repr, dict.fromkeys(close)))}?" if close else ""
        return ServiceFixtureError(
            f"{type(self.service).__name__} has no {kind} {which}, which "
            f"service_fixture(..., {option}) names.{there}"
        )

    def _equip(self, background: BackgroundTasks, lending: Lending) -> None:
        lending.any_address = False  # a dead port is one from now on
        if not hasattr(self.service, "__dict__"):
            raise ServiceFixtureError(
                f"{type(self.service).__name__} has __slots__, so no methods can be added to it; "
                "give service_fixture a subclass without them"
            )
        flag = RunningFlag(self.service, as_tuple(self._handling.running))
        running = self._handling.running
        if flag.name is None and running and not isinstance(running, Usual):
            raise self._unknown("running", running, "bool or Event")
        for name, names in self.tasks.items():
            self._method(f"tasks[{name!r}]", names)
        methods: dict[str, Callable[..., Any]] = {
            name: functools.partial(self._run_once, name, flag) for name in self.tasks
        }
        methods["test_enable_background_tasks"] = functools.partial(self._enable, background, flag)
        methods["test_disable_background_tasks"] = background.stop
        cleanup = self._method("cleanup", self._handling.cleanup)
        if cleanup:
            methods[cleanup] = self._noting_cleanup(getattr(self.service, cleanup))
        vars(self.service).update(methods)

    def _enable(self, background: BackgroundTasks, flag: RunningFlag) -> None:
        """Start what is held."""
        background.start(flag)
        self._gate.open()

    def _run_once(self, name: str, flag: RunningFlag, *args: Any, **kwargs: Any) -> Any:
        """Run a task of the service now, in this thread, and return what it returns."""
        method = self._method(f"tasks[{name!r}]", self.tasks[name])
        if not method:
            raise ServiceFixtureError(
                f"{name}() finds none of {', '.join(self.tasks[name])} on "
                f"{type(self.service).__name__}. Name the method that does it: "
                f"service_fixture(..., tasks={{{name!r}: 'the_method'}})"
            )
        self.tasks_run.add(name)
        with flag.set_meanwhile():
            result = getattr(self.service, method)(*args, **kwargs)
        if not inspect.isawaitable(result):
            return result
        return finished(awaited_in(self._own_loop(), awaited(result, flag)))

    def _own_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the event loop that the service runs in a thread of its own, if there is one."""
        loops = [loop for loop in map(event_loop_of, self._threads()) if loop]
        return loops[0] if len(loops) == 1 else None

    def _noting_cleanup(self, cleanup: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(cleanup)
        def noting(*args: Any, **kwargs: Any) -> Any:
            self._cleaned_up = True
            return cleanup(*args, **kwargs)

        return noting

    def _clean_up(self, background: BackgroundTasks, leftovers: Leftovers) -> None:
        """Let the service end itself, unless the test did."""
        cleanup = self._own_cleanup(background, leftovers)
        if cleanup is not None:
            cleanup.run()

    def _own_cleanup(self, background: BackgroundTasks, leftovers: Leftovers) -> Cleanup | None:
        """Return the service's own cleanup; None where it has none or the test called it."""
        name = self._method("cleanup", Usual(*as_tuple(self._handling.cleanup)))
        if not name or self._cleaned_up:
            return None
        timeout = self._handling.cleanup_timeout
        return Cleanup(self.service, name, timeout, self._alarm, background, leftovers)


@contextlib.contextmanager
def _environment(endpoint: MQTTEndpoint) -> Iterator[None]:
    """Tell the service where its broker is, though ``os.environ.get`` may be a mock."""
    values = {
        **dict.fromkeys(HOST_VARIABLES, endpoint.host),
        **dict.fromkeys(PORT_VARIABLES, str(endpoint.port)),
        **dict.fromkeys(PREFIX_VARIABLES if endpoint.topic_prefix else (), endpoint.topic_prefix),
    }
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)
