"""Makes the fixture of a service."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Container, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Union

import pytest

from ..broker.plugin import errors_as_failures
from ..clients.pool import SharedMQTTPool
from ..pytest_internals import leaks_on_purpose
from ..summary import add_to_summary
from .current_loop import offer_in_loop

Names = Union[str, Sequence[str]]


class ServiceFixtureError(RuntimeError):
    """A service that the fixture cannot handle as it was described; says what to change."""


class Usual(tuple):  # type: ignore[type-arg]  # of str
    """Names that are looked for, where others have to be there."""

    __slots__ = ()

    def __new__(cls, *names: str) -> Usual:  # noqa: PYI034
        """Take the names one by one."""
        return super().__new__(cls, names)


RUNNING_FLAGS = Usual("_running", "running")
CLEANUP_METHODS = Usual("cleanup", "shutdown", "stop", "close")

services_of_test = pytest.StashKey["list[Any]"]()


class Handling(NamedTuple):
    """What ``service_fixture`` was told about a service."""

    start: str | None
    run: str | None
    hold: Sequence[str]
    tasks: Mapping[str, Names]
    running: Names | None
    cleanup: Names | None
    cleanup_timeout: float


def service_fixture(
    service: type | Callable[..., Any] | str,
    *,
    start: str | None = None,
    run: str | None = None,
    hold: Names = (),
    arguments: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    tasks: Mapping[str, Names] | None = None,
    running: Names | None = RUNNING_FLAGS,
    cleanup: Names | None = CLEANUP_METHODS,
    cleanup_timeout: float = 2.0,
) -> Any:
    """Make a fixture that builds a service fast and leaves nothing of it behind.

    Required parameters of the constructor are filled from the fixtures of the same names. The
    environment variables by which services usually find their broker are set while it lives.
    A name that is given and does not exist fails the test as the service is set up.

    Usage: ``fast = service_fixture(Thermostat, tasks={"run_poll_once": "_poll_sensors"})``.

    Args:
        service: the class, a function that builds one, or the name of a fixture that gives either.
        start: the method that starts it, if the constructor does not.
        run: the method that goes on as long as the service lives: as a task if it is an
            ``async def``, else in a thread.
        hold: ``async def`` methods that do not begin until ``test_enable_background_tasks()``.
        arguments: fixtures for parameters of the constructor that have a default or another name.
        requires: fixtures to set up first, such as fakes of the network.
        tasks: methods to add to the service, and the method of the service that each runs
            once; of several names the first that the service has.
        running: the attribute that says whether the service runs, a bool or an Event.
        cleanup: the method that ends the service; of several names the first that it has.
        cleanup_timeout: seconds that it gets; then what it waits for is interrupted and named.
    """
    handling = Handling(start, run, as_tuple(hold), tasks or {}, running, cleanup, cleanup_timeout)

    def set_up(request: pytest.FixtureRequest, given: Container[str] = ()) -> tuple[Any, Any]:
        """Set up what the service needs, and return what builds it, and with which arguments."""
        hint = f", which service_fixture({name_of(service)}, requires=...) names"
        for name in requires:
            if name not in given:
                _set_up(request, name, hint, if_defined=isinstance(requires, Usual))
        build = request.getfixturevalue(service) if isinstance(service, str) else service
        return build, _arguments_for(build, arguments or {}, request)

    @contextlib.contextmanager
    def prepared(request: pytest.FixtureRequest, given: Container[str]) -> Iterator[Any]:
        from .in_loop import ServiceInLoop  # on use: it brings half of the folder

        with errors_as_failures(ServiceFixtureError):
            build, values = set_up(request, given)
            under_test = ServiceInLoop(build, handling, leaks_on_purpose(request.node))
            services = request.node.stash.setdefault(services_of_test, [])
            services.append(under_test)
            try:
                yield under_test, values
            finally:
                # pytest keeps the test, which need not keep the service.
                services.remove(under_test)
                for leak in under_test.leaks:
                    title = "left behind by services (could not be ended)"
                    add_to_summary(title, f"{request.node.nodeid}: {leak}")

    def fast_service(
        request: pytest.FixtureRequest,
        clean_mqtt_broker: SharedMQTTPool,
        **of_the_slow_one: Any,  # what it needs is set up: see override.py
    ) -> Iterator[Any]:
        """The service, built by its own constructor; nothing of it is left behind."""
        with prepared(request, of_the_slow_one) as (under_test, values):
            if under_test.needs_loop():
                yield under_test.living_in_loop(clean_mqtt_broker, values)
                return
            with under_test.living(clean_mqtt_broker, values):
                yield under_test.service

    async def fast_service_in_loop(
        request: pytest.FixtureRequest, clean_mqtt_broker: SharedMQTTPool, **of_the_slow_one: Any
    ) -> AsyncIterator[Any]:
        with prepared(request, of_the_slow_one) as (under_test, values):
            async with under_test.living_in_loop(clean_mqtt_broker, values) as living:
                yield living

    offer_in_loop(fast_service, fast_service_in_loop, set_up)
    return pytest.fixture(fast_service)


def as_tuple(names: Names | None) -> Sequence[str]:
    """Return one name, several or none, as several."""
    return (names,) if isinstance(names, str) else names or ()


def name_of(build: Any) -> str:
    """Return what a class, or a function that builds a service, is called."""
    return str(getattr(build, "__qualname__", build))


def _is_generator(build: Any) -> bool:
    """Return whether a function yields, as that of a fixture or of a context manager does."""
    return inspect.isgeneratorfunction(build) or inspect.isasyncgenfunction(build)


def _set_up(
    request: pytest.FixtureRequest, name: str, hint: str, *, if_defined: bool = False
) -> Any:
    try:
        return request.getfixturevalue(name)
    except pytest.FixtureLookupError as error:
        if error.argname != name:
            raise
        if if_defined:
            return None
        raise ServiceFixtureError(f"no fixture has the name {name!r}{hint}") from None


def _arguments_for(
    build: Any, given: Mapping[str, str], request: pytest.FixtureRequest
) -> dict[str, Any]:
    if not callable(build):
        raise ServiceFixtureError(
            f"service_fixture takes a class, or a function that builds the service, not {build!r}"
        )
    if any(map(_is_generator, (build, inspect.unwrap(build)))):
        raise ServiceFixtureError(
            f"{name_of(build)} has a yield; service_fixture takes what returns the service: put "
            "what is before the yield into a method that start names, and what is behind it into "
            "one that cleanup names"
        )
    parameters = inspect.signature(build).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in () if takes_any else set(given) - {p.name for p in named}:
        names = ", ".join(p.name for p in named) or "none"
        raise ServiceFixtureError(
            f"arguments has {name!r}, which is no parameter of {name_of(build)}; it has {names}"
        )
    fixtures = {p.name: p.name for p in named if p.default is p.empty}
    return {
        name: _set_up(
            request,
            fixture,
            f", from which {name_of(build)} gets {name!r}: write one, "
            f"or name another: service_fixture(..., arguments={{{name!r}: ...}})",
        )
        for name, fixture in {**fixtures, **given}.items()
    }
