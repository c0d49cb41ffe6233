"""One service in one test: built, run by hand, ended."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import functools
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Union

import pytest

from ..broker.process import TestMQTTBroker
from ..clients.network_loop import network_loop_of
from ..clients.plugin import PREFIX_VARIABLES
from ..clients.pool import Lending, SharedMQTTPool
from ..originals import Thread
from ..wire.endpoint import MQTTEndpoint
from .background import BackgroundTasks
from .errors import ServiceFixtureError
from .executors import GRACE, ConcurrentFuturesFix, end_threads, name_once, stack_of
from .running_flag import RunningFlag

Names = Union[str, Sequence[str]]

HOST_VARIABLES = ("MQTT_BROKER", "MQTT_HOST", "MQTT_BROKER_HOST", "MQTT_SERVER")

PORT_VARIABLES = ("MQTT_PORT", "MQTT_BROKER_PORT")

ROUNDS = 5
"""Attempts to end its threads, each of which may start another as it ends; one as a rule."""

SHORT_SLEEP = 0.001
"""Seconds that a sleep of the service takes while it is cleaned up."""


def as_tuple(names: Names) -> tuple[str, ...]:
    """Return one name, or several, as several."""
    return (names,) if isinstance(names, str) else tuple(names)


@dataclass
class ServiceUnderTest:
    """One service in one test: how it is built, run by hand, and ended."""

    service_class: type
    running: tuple[str, ...]
    cleanup: tuple[str, ...]
    tasks: dict[str, Names]
    service: Any = None
    tasks_run: set[str] = field(default_factory=set)
    leaks: list[str] = field(default_factory=list)
    cleaned_up: bool = False
    leaks_on_purpose: bool = False

    @contextlib.contextmanager
    def living(self, pool: SharedMQTTPool, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Build the service, and end it with the ``with`` block."""
        with contextlib.ExitStack() as life:
            patch = life.enter_context(pytest.MonkeyPatch.context())
            _set_environment(patch, pool.endpoint)
            fix = ConcurrentFuturesFix()
            if not self.leaks_on_purpose:
                life.enter_context(fix)
                life.callback(self._end_threads, fix, pool)
                _start_raw_threads_as_others(patch)
                programs = _note_programs(patch)
                life.callback(_end_programs, programs)  # before threads that wait for one
            lending = life.enter_context(pool.lending())
            background = BackgroundTasks(self.service_class, pool, lending)
            with background.held():
                self.service = self.service_class(**arguments)
            lending.any_address = False  # a dead port is one from now on
            life.callback(_interrupt_callbacks, lending)
            life.callback(background.stop)
            life.callback(self._clean_up, background)
            self._equip(background)
            background.serve_clients()
            pool.await_connections(lending)
            yield
        self.leaks += fix.stuck

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
        cleanup = _first_method(self.service, self.cleanup)
        if cleanup is not None:
            methods[cleanup] = self._noting_cleanup(getattr(self.service, cleanup))
        vars(self.service).update(methods)

    def _run_once(self, name: str, flag: RunningFlag, *args: Any, **kwargs: Any) -> Any:
        """Run a task of the service now, in this thread, and return what it returns."""
        candidates = as_tuple(self.tasks[name])
        method = _first_method(self.service, candidates)
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
        return _finished(_awaited(result, flag))

    def _noting_cleanup(self, cleanup: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(cleanup)
        def noting(*args: Any, **kwargs: Any) -> Any:
            self.cleaned_up = True
            return cleanup(*args, **kwargs)

        return noting

    def _clean_up(self, background: BackgroundTasks) -> None:
        """Have the service end itself, unless the test did; without its pauses for others."""
        cleanup = _first_method(self.service, self.cleanup)
        if cleanup is None or self.cleaned_up:
            return
        with pytest.MonkeyPatch.context() as patch:
            _shorten_sleeps(patch)
            background.get_ready_for_cleanup(patch)
            _finished(getattr(self.service, cleanup)())

    def _end_threads(self, fix: ConcurrentFuturesFix, pool: SharedMQTTPool) -> None:
        fix.end_executors()
        seen: set[threading.Thread] = set()
        for _ in range(ROUNDS):
            left = set(fix.threads_left) - {pool.network_loop} - seen
            if not left:
                return
            self._name(end_threads(left, at_once=bool(seen), wake=fix.kill_processes))
            seen |= left
        self._name(set(fix.threads_left) - {pool.network_loop})

    def _name(self, stuck: Iterable[threading.Thread]) -> None:
        for thread in name_once(stuck):
            self.leaks.append(
                f"thread {thread.name} runs on. Have its loop look at a flag, or its wait time "
                f"out, when the service is cleaned up. It stands in:\n{stack_of(thread)}"
            )


def _shorten_sleeps(patch: pytest.MonkeyPatch) -> None:
    """Have this thread not pause for long; others sleep as always."""
    sleep, cleaning = time.sleep, threading.current_thread()

    def sleep_shortly(seconds: float) -> None:
        is_ours = threading.current_thread() is cleaning
        sleep(min(seconds, SHORT_SLEEP) if is_ours else seconds)

    patch.setattr(time, "sleep", sleep_shortly)


services_of_test = pytest.StashKey["list[ServiceUnderTest]"]()


def _first_method(service: Any, names: Sequence[str]) -> str | None:
    return next((name for name in names if callable(getattr(service, name, None))), None)


def _finished(result: Any) -> Any:
    """Run what an ``async def`` method returned; leave it to an async test to await it itself."""
    if not inspect.isawaitable(result) or _a_loop_runs():
        return result
    loop = asyncio.new_event_loop()  # not asyncio.run(), which takes the thread's loop away
    try:
        return loop.run_until_complete(result)
    finally:
        loop.close()


def _a_loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _awaited(result: Any, flag: RunningFlag) -> Any:
    with flag.set_meanwhile():
        return await result


def _set_environment(patch: pytest.MonkeyPatch, endpoint: MQTTEndpoint) -> None:
    for name in HOST_VARIABLES:
        patch.setenv(name, endpoint.host)
    for name in PORT_VARIABLES:
        patch.setenv(name, str(endpoint.port))
    for name in PREFIX_VARIABLES if endpoint.topic_prefix else ():
        patch.setenv(name, endpoint.topic_prefix)


def _interrupt_callbacks(lending: Lending) -> None:
    """End the callbacks in which a network loop has got stuck: it could not end either."""
    threads = [
        network_loop_of(client) for client in lending.clients if _stays_in_a_callback(client)
    ]
    end_threads([thread for thread in threads if thread], at_once=True)


def _stays_in_a_callback(client: Any) -> bool:
    if not client._in_callback_mutex.acquire(timeout=GRACE):
        return True
    client._in_callback_mutex.release()
    return False


def _start_raw_threads_as_others(patch: pytest.MonkeyPatch) -> None:
    """Have ``_thread.start_new_thread`` make a Thread, which can be held, ended and named.

    It does not reach who has imported the function itself before.
    """

    def start_new_thread(
        function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> int:
        thread = Thread(target=function, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread.ident or 0  # it is held

    patch.setattr(_thread, "start_new_thread", start_new_thread)


def _end_programs(programs: Iterable[subprocess.Popen[Any]]) -> None:
    for program in programs:
        if program.poll() is None:
            program.kill()
            program.wait()


def _note_programs(patch: pytest.MonkeyPatch) -> list[subprocess.Popen[Any]]:
    """Return a list to which each program is added that ``subprocess`` starts, but brokers."""
    programs: list[subprocess.Popen[Any]] = []
    initialise = subprocess.Popen.__init__

    @functools.wraps(initialise)
    def initialise_and_note(self: Any, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        if sys._getframe(1).f_globals.get("__name__") != TestMQTTBroker.__module__:
            programs.append(self)

    patch.setattr(subprocess.Popen, "__init__", initialise_and_note)
    return programs
