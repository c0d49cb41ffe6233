"""A fast fixture for any service that talks MQTT, and its override in place of a slow one.

Needs pytest, paho-mqtt and, beside it, ``mqtt_test_broker.py``, ``shared_mqtt_pool.py`` and
``concurrent_futures_fix.py``. In ``tests/conftest.py``::

    from optimized_service_fixture import override_fixture, service_fixture
    from thermostat.service import Thermostat

    fast_thermostat = service_fixture(
        Thermostat,
        tasks={"run_poll_once": "_poll_sensors"},
        cleanup="shutdown",
    )
    override_fixture("thermostat", fast_thermostat)

The service is built for real, by its own constructor, and speaks over real MQTT connections to
the session's broker. Its background threads and timers do not start; a test runs a task when it
wants it run (``thermostat.run_poll_once()``), or has them all started
(``thermostat.test_enable_background_tasks()``). After the test the service is cleaned up, and
what it leaves behind is ended: threads, timers, executors, processes, MQTT clients, retained
messages. A test that needs what it leaves running says ``@pytest.mark.leaks_on_purpose``.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import functools
import inspect
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_stack
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, Union

import pytest

if TYPE_CHECKING or not __package__:
    from concurrent_futures_fix import (
        GRACE,
        ConcurrentFuturesFix,
        end_threads,
        name_once,
        stack_of,
    )
    from mqtt_test_broker import (
        MQTTEndpoint,
        TestMQTTBroker,
        add_to_summary,
        register_with_pytest,
    )
    from shared_mqtt_pool import (
        PREFIX_VARIABLES,
        Lending,
        SharedMQTTPool,
        leaks_on_purpose,
        network_loop_of,
        wake_network_loop,
    )
else:
    from .concurrent_futures_fix import (
        GRACE,
        ConcurrentFuturesFix,
        end_threads,
        name_once,
        stack_of,
    )
    from .mqtt_test_broker import (
        MQTTEndpoint,
        TestMQTTBroker,
        add_to_summary,
        register_with_pytest,
    )
    from .shared_mqtt_pool import (
        PREFIX_VARIABLES,
        Lending,
        SharedMQTTPool,
        leaks_on_purpose,
        network_loop_of,
        wake_network_loop,
    )

Names = Union[str, Sequence[str]]

HOST_VARIABLES = ("MQTT_BROKER", "MQTT_HOST", "MQTT_BROKER_HOST", "MQTT_SERVER")
PORT_VARIABLES = ("MQTT_PORT", "MQTT_BROKER_PORT")
SWITCH = "CAMERA_DETECTOR_FIXTURE"
"""The environment variable that, as ``original``, leaves the fixtures of every service alone."""

RUNNING_FLAGS = ("_running", "running")
CLEANUP_METHODS = ("cleanup", "shutdown", "stop", "close")

ROUNDS = 5
"""Attempts to end its threads, each of which may start another as it ends; one as a rule."""

CLEANUP_PATIENCE = 0.2
"""Seconds after which a cleanup is taken to wait for a thread of the service that is held."""

JOIN_PATIENCE = 0.02
"""Seconds that a thread gets to end by itself when the service's cleanup waits for that."""

SHORT_SLEEP = 0.001
"""Seconds that a sleep of the service takes while it is cleaned up."""


class ServiceFixtureError(RuntimeError):
    """A service that the fixture cannot handle as it was described; says what to change."""


# --- The fixture ------------------------------------------------------------------------------


def service_fixture(
    service: type | str,
    *,
    requires: Sequence[str] = (),
    tasks: Mapping[str, Names] | None = None,
    running: Names = RUNNING_FLAGS,
    cleanup: Names = CLEANUP_METHODS,
) -> Any:
    """Make a fixture that builds a service fast and leaves nothing of it behind.

    Required parameters of the constructor are filled from the fixtures of the same names. The
    environment variables by which services usually find their broker are set while it lives.

    Usage: ``fast = service_fixture(Thermostat, tasks={"run_poll_once": "_poll_sensors"})``.

    Args:
        service: the class, or the name of a fixture that gives it.
        requires: fixtures to set up first, such as fakes of the network; a name that no
            fixture has is passed over.
        tasks: methods to add to the service, and the method of the service that each runs
            once; of several names the first that the service has.
        running: the attribute that says whether the service runs, a bool or an Event.
        cleanup: the method that ends the service; of several names the first that it has.
    """

    def make(of_the_slow_one: Sequence[str] = ()) -> Any:
        def fast_service(
            request: pytest.FixtureRequest, clean_mqtt_broker: SharedMQTTPool, **required: Any
        ) -> Iterator[Any]:
            for name in requires:
                if name not in required:
                    _request_if_defined(request, name)
            service_class = (
                request.getfixturevalue(service) if isinstance(service, str) else service
            )
            under_test = ServiceUnderTest(
                service_class, _as_tuple(running), _as_tuple(cleanup), dict(tasks or {})
            )
            arguments = _constructor_arguments(request, service_class)
            request.node.stash.setdefault(services_of_test, []).append(under_test)
            under_test.leaks_on_purpose = leaks_on_purpose(request.node)
            try:
                with under_test.living(clean_mqtt_broker, arguments):
                    yield under_test.service
            finally:
                under_test.service = None  # pytest keeps the test, which need not keep the service
                for leak in under_test.leaks:
                    title = "left behind by services (could not be ended)"
                    add_to_summary(title, f"{request.node.nodeid}: {leak}")

        _add_parameters(fast_service, [n for n in of_the_slow_one if _is_still_needed(n)])
        return pytest.fixture(fast_service)

    fixture = make()
    _makers.append((fixture, make))
    return fixture


_makers: list[tuple[Any, Callable[[Sequence[str]], Any]]] = []


def _made_to_replace(slow: Callable[..., Any], fixture: Any) -> Any:
    """Return *fixture* with the parameters of *slow*, whose fakes the service needs.

    As parameters, since a test may parametrize one indirectly, which pytest allows only where a
    fixture has it as a parameter.
    """
    for made, make in _makers:
        if made is fixture:
            return make(list(inspect.signature(slow).parameters))
    return fixture


def _is_still_needed(parameter: str) -> bool:
    """Say whether the fast fixture needs a fixture of the slow one: a broker it does not."""
    own = ("self", "request", "clean_mqtt_broker")
    return parameter not in own and not any(word in parameter for word in ("broker", "mosquitto"))


def _add_parameters(function: Any, names: Sequence[str]) -> None:
    signature = inspect.signature(function)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    function.__signature__ = signature.replace(parameters=[*named, *added])


def _as_tuple(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _request_if_defined(request: pytest.FixtureRequest, name: str) -> None:
    try:
        request.getfixturevalue(name)
    except pytest.FixtureLookupError as error:
        if error.argname != name:
            raise


def _constructor_arguments(request: pytest.FixtureRequest, service_class: type) -> dict[str, Any]:
    return {name: request.getfixturevalue(name) for name in _required_parameters(service_class)}


@functools.cache
def _required_parameters(service_class: type) -> list[str]:
    return [
        parameter.name
        for parameter in inspect.signature(service_class).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


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
        flag = _RunningFlag(self.service, self.running)
        methods: dict[str, Callable[..., Any]] = {
            name: functools.partial(self._run_once, name, flag) for name in self.tasks
        }
        methods["test_enable_background_tasks"] = functools.partial(background.start, flag)
        methods["test_disable_background_tasks"] = background.stop
        cleanup = _first_method(self.service, self.cleanup)
        if cleanup is not None:
            methods[cleanup] = self._noting_cleanup(getattr(self.service, cleanup))
        vars(self.service).update(methods)

    def _run_once(self, name: str, flag: _RunningFlag, *args: Any, **kwargs: Any) -> Any:
        """Run a task of the service now, in this thread, and return what it returns."""
        candidates = _as_tuple(self.tasks[name])
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


async def _awaited(result: Any, flag: _RunningFlag) -> Any:
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
        thread = _Thread(target=function, args=args, kwargs=kwargs, daemon=True)
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


class _RunningFlag:
    """The attribute by which a service knows whether it runs: a bool, or an Event."""

    def __init__(self, service: Any, names: Sequence[str]) -> None:
        self._service = service
        self._name = next((name for name in names if self._is_flag(name)), None)

    def _is_flag(self, name: str) -> bool:
        return isinstance(vars(self._service).get(name), (bool, _Event))

    def get(self) -> bool:
        """Say whether the service thinks that it runs; one without a flag does."""
        if self._name is None:
            return True
        value = getattr(self._service, self._name)
        return value.is_set() if isinstance(value, _Event) else bool(value)

    def set(self, running: bool) -> None:
        """Have the service think that it runs, or that it does not."""
        if self._name is None:
            return
        value = getattr(self._service, self._name)
        if not isinstance(value, _Event):
            setattr(self._service, self._name, running)
        elif running:
            value.set()
        else:
            value.clear()

    @contextlib.contextmanager
    def set_meanwhile(self) -> Iterator[None]:
        """Let tasks run that begin with a look at the flag."""
        before = self.get()
        self.set(True)
        try:
            yield
        finally:
            if not before:
                self.set(False)


# --- Background tasks -------------------------------------------------------------------------


# A test may have mocks in their place.
_Thread, _Timer, _Event = threading.Thread, threading.Timer, threading.Event

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
        if isinstance(thread, _Timer):
            code = thread.function
        elif code is _Thread:
            code = getattr(thread, "_target", None)
        while isinstance(code, functools.partial):
            code = code.func
        name = str(getattr(code, "__module__", ""))
        file = getattr(sys.modules.get(name), "__file__", None) or _LIBRARIES[0]
        return name.partition(".")[0] == self._package or not file.startswith(_LIBRARIES)

    def start(self, flag: _RunningFlag) -> None:
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
    _Thread.join(thread, JOIN_PATIENCE if timeout is None else min(timeout, JOIN_PATIENCE))
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


# --- The override -----------------------------------------------------------------------------


@dataclass(eq=False)
class _Override:
    name: str
    fixture: Any
    folder: Path | None
    """That of the conftest.py that asked for it; None if none did: it counts everywhere."""
    by_import: bool
    """Whether a module asked as it was imported: it counts for others that import it, too."""
    replaced: dict[str, Any] = field(default_factory=dict)
    """The slow fixture of each test module in which it has taken effect."""
    refused_in: dict[str, str] = field(default_factory=dict)

    def nearness_to(self, module: pytest.Module) -> int:
        """Return how deep the folder is from which it counts for a module; -1 if it does not."""
        folders = [self.folder or Path()]
        if self.by_import:
            folders += [_folder_of(c) for c in _conftests_of(module) if _has(c, self.fixture)]
        parents = [Path(), *module.path.parents]
        return max((len(folder.parts) for folder in folders if folder in parents), default=-1)


_overrides: dict[tuple[str, Path | None], _Override] = {}


def override_fixture(name: str, fixture: Any) -> None:
    """Replace the fixture *name* by *fixture* wherever it is defined.

    That is in test modules, in classes, and in conftest.py files; a fixture in the conftest.py
    of the same name would not win over one in a test module. Call it at the top level of a
    conftest.py: ``override_fixture("thermostat", fast_thermostat)``. It counts for the tests in
    the folder of that conftest.py and below; of several, that of the nearest conftest.py wins.
    With ``CAMERA_DETECTOR_FIXTURE=original`` in the environment no fixture is replaced.

    Raises:
        TypeError: *fixture* is none.
    """
    if _fixture_name(fixture, "") is None:
        raise TypeError(
            f"override_fixture({name!r}, ...) takes a fixture, not {fixture!r}; "
            "make one with service_fixture(...) or @pytest.fixture"
        )
    callers = [Path(f.f_globals.get("__file__") or "") for f, _ in walk_stack(sys._getframe(1))]
    conftest = next((file for file in callers if file.name == "conftest.py"), None)
    folder = conftest and conftest.parent
    _overrides[name, folder] = _Override(name, fixture, folder, by_import=conftest != callers[0])


def _overrides_for(module: pytest.Module) -> list[_Override]:
    """Return the overrides that count for a test module: of each name the nearest."""
    if os.environ.get(SWITCH) == "original":
        return []
    near = [o for o in _overrides.values() if o.nearness_to(module) >= 0]
    near.sort(key=lambda override: override.nearness_to(module))  # of equals the last wins
    return list({override.name: override for override in near}.values())


def replaced_fixture(name: str, module: pytest.Module) -> Any:
    """Return the slow fixture *name* of a test module; None where no fast one has replaced it."""
    here = module.nodeid
    slow = (o.replaced[here] for o in _overrides.values() if o.name == name and here in o.replaced)
    return next(slow, None)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Replace the fixtures in a test module and its classes before pytest looks for them."""
    if not _overrides:
        return
    if isinstance(collector, pytest.Module):
        _override_in_module(collector)
    elif isinstance(collector, pytest.Class):
        _override_in_class(collector)


def _override_in_module(collector: pytest.Module) -> None:
    try:
        module = collector.obj
    except (Exception, pytest.skip.Exception, pytest.fail.Exception):  # noqa: BLE001
        return  # pytest imports it again when it collects it, and reports the same
    conftests = _conftests_of(collector)
    for override in _overrides_for(collector):
        slow = _find_slow_fixture(module, override, conftests)
        if slow is None:
            continue
        reason = _reason_to_refuse(slow, override, [module, *_classes_in(module), *conftests])
        if reason:
            override.refused_in[collector.nodeid] = reason
        else:
            for attribute in _fixtures_in(module, override.name):
                delattr(module, attribute)
            fast = _made_to_replace(function_of(slow), override.fixture)
            setattr(module, override.name, fast)
            override.replaced.setdefault(collector.nodeid, slow)  # hooks may be called twice


def _override_in_class(collector: pytest.Class) -> None:
    """Have a class get its fixtures from its module, where that has the fast ones.

    Modules may share the class or its bases, and one of them may not be overridden.
    """
    module = collector.getparent(pytest.Module)
    if module is None:
        return
    for cls in collector.obj.__mro__[:-1]:
        for attribute, fixture in _taken_from.pop(cls, {}).items():
            setattr(cls, attribute, fixture)
        for override in _overrides_for(module):
            if module.nodeid in override.replaced:
                _take_from(cls, override.name)


_taken_from: dict[type, dict[str, Any]] = {}
"""The fixtures that classes do not have at the moment."""


def _take_from(cls: type, name: str) -> None:
    for attribute, fixture in _fixtures_in(cls, name).items():
        _taken_from.setdefault(cls, {})[attribute] = fixture
        delattr(cls, attribute)


def _find_slow_fixture(module: ModuleType, override: _Override, conftests: list[ModuleType]) -> Any:
    for owner in (module, *_classes_in(module), *conftests):
        for slow in _fixtures_in(owner, override.name).values():
            if slow is not override.fixture:
                return None if _extends_the_fast_one(slow, override, conftests) else slow
    return None


def _extends_the_fast_one(slow: Any, override: _Override, conftests: list[ModuleType]) -> bool:
    names = {
        attribute
        for conftest in conftests
        for attribute, value in vars(conftest).items()
        if value is override.fixture
    }
    return bool(names & set(_parameters_of(slow)))


def _classes_in(module: ModuleType) -> list[type]:
    """Return the classes of a module, and their bases."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return [base for cls in classes for base in cls.__mro__[:-1]]


def _reason_to_refuse(slow: Any, override: _Override, owners: Sequence[Any]) -> str | None:
    marker, fast_marker = _marker_of(slow), _marker_of(override.fixture)
    if override.name in _parameters_of(slow):
        return "it extends another fixture of its name, which stays slow. Extend the fast one"
    if _is_parametrized(slow) and not _is_parametrized(override.fixture):
        return (
            "it is parametrized, and its variants would be lost. Override it with a fixture that "
            "has its params and asks for the fast one"
        )
    if marker.autouse and not fast_marker.autouse:
        return "it is autouse, which the fast one is not: tests would go without it"
    if _reads_of_request(slow, "cls"):
        return (
            "it gives the class something (request.cls), which the fast one does not. Do that in "
            "an autouse fixture of its own, which asks for this one"
        )
    wider = _wider_fixture_that_uses(override.name, owners)
    if wider and fast_marker.scope == "function":
        return f"the fixture {wider} uses it, and {_ONE_TEST_ONLY.format(override.name, wider)}"
    return None


_ONE_TEST_ONLY = (
    "the fast {0} is one test's own, where {1} serves several. Make {1} function-scoped, or have "
    "it do without {0}"
)


def _is_parametrized(fixture: Any) -> bool:
    return bool(_marker_of(fixture).params) or _reads_of_request(fixture, "param")


def _reads_of_request(fixture: Any, attribute: str) -> bool:
    code = getattr(inspect.unwrap(function_of(fixture)), "__code__", None)
    return "request" in _parameters_of(fixture) and attribute in getattr(code, "co_names", ())


def _wider_fixture_that_uses(name: str, owners: Sequence[Any]) -> str | None:
    for owner in owners:
        for attribute, value in vars(owner).items():
            marker = _marker_of(value)
            if marker is not None and marker.scope != "function" and name in _parameters_of(value):
                return str(marker.name or attribute)
    return None


def _fixtures_in(owner: Any, name: str) -> dict[str, Any]:
    """Return the fixtures *name* of a module or class, also those that are taken from it now."""
    there = {**vars(owner), **(_taken_from.get(owner, {}) if isinstance(owner, type) else {})}
    return {
        attribute: value
        for attribute, value in there.items()
        if _fixture_name(value, attribute) == name
    }


def _fixture_name(value: Any, attribute: str) -> str | None:
    """Return the name of the fixture that *value* is; None where it is none."""
    marker = _marker_of(value)
    return None if marker is None else marker.name or attribute


def _marker_of(value: Any) -> Any:
    """Return the options of the fixture that *value* is; None where it is none."""
    for marker_of in ("_fixture_function_marker", "_pytestfixturefunction"):  # since 8.4, before
        # Not getattr: proxies such as flask.request raise whatever they like.
        marker = inspect.getattr_static(value, marker_of, None)
        if type(marker).__name__ == "FixtureFunctionMarker":
            return marker
    return None


def function_of(fixture: Any) -> Callable[..., Any]:
    """Return the function that a fixture was made of (since pytest 8.4, and before)."""
    function = getattr(fixture, "_fixture_function", None) or fixture.__pytest_wrapped__.obj
    if isinstance(function, (classmethod, staticmethod)):
        return function.__get__(None, object)
    return function  # type: ignore[no-any-return]


def _parameters_of(fixture: Any) -> list[str]:
    return list(inspect.signature(function_of(fixture)).parameters)


def _conftests_of(collector: pytest.Module) -> list[ModuleType]:
    """Return the conftest.py modules whose fixtures a test module sees."""
    return [
        plugin
        for plugin in collector.config.pluginmanager.get_plugins()
        if isinstance(plugin, ModuleType)
        and Path(plugin.__file__ or "").name == "conftest.py"
        and _folder_of(plugin) in collector.path.parents
    ]


def _folder_of(conftest: ModuleType) -> Path:
    return Path(conftest.__file__ or "").parent


def _has(conftest: ModuleType, fixture: Any) -> bool:
    """Say whether a conftest.py has imported a fixture, or the module that it is in."""
    values = list(vars(conftest).values())
    modules = [value for value in values if isinstance(value, ModuleType)]
    values += [value for module in modules for value in vars(module).values()]
    return any(value is fixture for value in values)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Say what to do where a wider fixture has asked for a fast one, unseen by the override."""
    outcome: Any = yield
    report = outcome.get_result()
    for override in _overrides.values() if report.failed else ():
        if f"access the function scoped fixture {override.name} with" in report.longreprtext:
            remedy = _ONE_TEST_ONLY.format(override.name, "the fixture that asks for it")
            report.sections.append(("what to do", remedy))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say so where an override was asked for, tests use the fixture, and nothing took."""
    for override in _overrides.values():
        lines = [
            f"{override.name} in {module} was left as it is: {reason}"
            for module, reason in override.refused_in.items()
        ]
        if not lines and not override.replaced and _is_used(override, session):
            lines.append(
                f"{override.name}: nothing was overridden. The tests get the fixture from a "
                "plugin, or the module was imported before conftest.py asked for the override; "
                "call override_fixture() at the top level of the topmost conftest.py."
            )
        for line in lines:
            add_to_summary("fixture overrides", line)


def _is_used(override: _Override, session: pytest.Session) -> bool:
    modules = {
        item.getparent(pytest.Module)
        for item in getattr(session, "items", ())
        if override.name in getattr(item, "fixturenames", ())
    }
    return any(override in _overrides_for(module) for module in modules if module)


register_with_pytest(ConcurrentFuturesFix.__module__)
register_with_pytest(__name__)
