"""One service in one test: built, run by hand, ended."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ..clients.plugin import PREFIX_VARIABLES
from ..clients.pool import SharedMQTTPool
from ..executors import stack_of
from ..threads import GRACE, forget_interruption, interrupt, short_sleeps
from ..wire.endpoint import MQTTEndpoint
from .alarm import alarm
from .background import BackgroundTasks
from .coroutines import awaited, finished
from .errors import ServiceFixtureError
from .fixture import Names, as_tuple
from .leftovers import Leftovers, interrupt_callbacks
from .running_flag import RunningFlag

HOST_VARIABLES = ("MQTT_BROKER", "MQTT_HOST", "MQTT_BROKER_HOST", "MQTT_SERVER")

PORT_VARIABLES = ("MQTT_PORT", "MQTT_BROKER_PORT")

CLEANUP_PATIENCE = 0.2
"""Seconds after which a cleanup is taken to wait for a thread of the service that is held."""

SHORT_SLEEP = 0.001
"""Seconds that a sleep of the service takes while it is cleaned up."""


class _CleanupInterrupted(BaseException):
    """Raised in a cleanup that does not end, of which no ``except Exception`` gets hold."""


@dataclass
class ServiceUnderTest:
    """One service in one test: how it is built, run by hand, and ended."""

    service_class: type
    running: tuple[str, ...]
    cleanup: tuple[str, ...]
    tasks: dict[str, Names]
    cleanup_timeout: float
    service: Any = None
    tasks_run: set[str] = field(default_factory=set)
    leaks: list[str] = field(default_factory=list)
    cleaned_up: bool = False
    leaks_on_purpose: bool = False

    @contextlib.contextmanager
    def living(self, pool: SharedMQTTPool, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Build the service, and end it with the ``with`` block."""
        leftovers = Leftovers(pool, ends=not self.leaks_on_purpose)
        with contextlib.ExitStack() as life:
            patch = life.enter_context(pytest.MonkeyPatch.context())
            _set_environment(patch, pool.endpoint)
            life.enter_context(leftovers)
            lending = life.enter_context(pool.lending())
            background = BackgroundTasks(self.service_class, pool, lending)
            with background.held_by(leftovers.watch):
                self.service = self.service_class(**arguments)
            lending.any_address = False  # a dead port is one from now on
            life.callback(interrupt_callbacks, lending)
            life.callback(background.stop)
            life.callback(self._clean_up, background, leftovers)
            self._equip(background)
            background.serve_clients()
            pool.await_connections(lending)
            yield
        self.leaks += leftovers.named

    def _equip(self, background: BackgroundTasks) -> None:
        if not hasattr(self.service, "__dict__"):
            raise ServiceFixtureError(
                f"{self.service_class.__name__} has __slots__, so no methods can be added to it; "
                "give service_fixture a subclass without them"
            )
        flag = RunningFlag(self.service, self.running)
        methods: dict[str, Callable[..., Any]] = {
            name: functools.partial(self._run_once, name, flag) for name in self.tasks
        }
        methods["test_enable_background_tasks"] = functools.partial(background.start, flag)
        methods["test_disable_background_tasks"] = background.stop
        cleanup = first_method(self.service, self.cleanup)
        if cleanup is not None:
            methods[cleanup] = self._noting_cleanup(getattr(self.service, cleanup))
        vars(self.service).update(methods)

    def _run_once(self, name: str, flag: RunningFlag, *args: Any, **kwargs: Any) -> Any:
        """Run a task of the service now, in this thread, and return what it returns."""
        candidates = as_tuple(self.tasks[name])
        method = first_method(self.service, candidates)
        if method is None:
            raise ServiceFixtureError(
                f"{name}() finds none of {', '.join(candidates)} on "
                f"{self.service_class.__name__}. Name the method that does it: "
                f"service_fixture(..., tasks={{{name!r}: 'the_method'}})"
            )
        self.tasks_run.add(name)
        with flag.set_meanwhile():
            result = getattr(self.service, method)(*args, **kwargs)
        if not inspect.isawaitable(result):
            return result
        return finished(awaited(result, flag))

    def _noting_cleanup(self, cleanup: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(cleanup)
        def noting(*args: Any, **kwargs: Any) -> Any:
            self.cleaned_up = True
            return cleanup(*args, **kwargs)

        return noting

    def _clean_up(self, background: BackgroundTasks, leftovers: Leftovers) -> None:
        """Let the service end itself, unless the test did, without its pauses for others.

        It has a deadline: then what it waits for is interrupted, and in the end the cleanup itself.
        """
        cleanup = first_method(self.service, self.cleanup)
        if cleanup is None or self.cleaned_up:
            return
        cleaning = threading.current_thread()

        def interrupt_what_it_waits_for() -> None:
            self.leaks.append(
                f"{cleanup}() did not end within {self.cleanup_timeout:g} s, and what it waits for "
                f"was interrupted. It stood in:\n{stack_of(cleaning)}"
            )
            leftovers.interrupt()

        steps = (
            (CLEANUP_PATIENCE, background.start_for_cleanup),
            (self.cleanup_timeout - CLEANUP_PATIENCE, interrupt_what_it_waits_for),
            (GRACE, lambda: interrupt(cleaning, _CleanupInterrupted)),
        )
        background.let_cleanup_join()
        try:
            with short_sleeps(SHORT_SLEEP), alarm(*steps):
                finished(getattr(self.service, cleanup)())
            forget_interruption(cleaning)  # which may have come as it ended
        except _CleanupInterrupted:
            pass


def first_method(service: Any, names: Sequence[str]) -> str | None:
    """Return the first of *names* that is a method of *service*."""
    return next((name for name in names if callable(getattr(service, name, None))), None)


def _set_environment(patch: pytest.MonkeyPatch, endpoint: MQTTEndpoint) -> None:
    for name in HOST_VARIABLES:
        patch.setenv(name, endpoint.host)
    for name in PORT_VARIABLES:
        patch.setenv(name, str(endpoint.port))
    for name in PREFIX_VARIABLES if endpoint.topic_prefix else ():
        patch.setenv(name, endpoint.topic_prefix)
