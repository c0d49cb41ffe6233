"""Makes the fixture of a service."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

import pytest

from ..clients.pool import SharedMQTTPool
from ..markers import leaks_on_purpose
from ..summary import add_to_summary

Names = Union[str, Sequence[str]]

RUNNING_FLAGS = ("_running", "running")
CLEANUP_METHODS = ("cleanup", "shutdown", "stop", "close")

services_of_test = pytest.StashKey["list[Any]"]()


def service_fixture(
    service: type | str,
    *,
    requires: Sequence[str] = (),
    tasks: Mapping[str, Names] | None = None,
    running: Names = RUNNING_FLAGS,
    cleanup: Names = CLEANUP_METHODS,
    cleanup_timeout: float = 2.0,
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
        cleanup_timeout: seconds that it gets; then what it waits for is interrupted and named.
    """

    @pytest.fixture
    def fast_service(
        request: pytest.FixtureRequest,
        clean_mqtt_broker: SharedMQTTPool,
        **of_the_slow_one: Any,  # what it needs is set up: see override.py
    ) -> Iterator[Any]:
        """The service, built by its own constructor; nothing of it is left behind."""
        from .lifetime import ServiceUnderTest  # on use: it brings half of the folder

        for name in requires:
            if name not in of_the_slow_one:
                _request_if_defined(request, name)
        service_class = request.getfixturevalue(service) if isinstance(service, str) else service
        under_test = ServiceUnderTest(
            service_class,
            as_tuple(running),
            as_tuple(cleanup),
            dict(tasks or {}),
            cleanup_timeout,
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

    return fast_service


def as_tuple(names: Names) -> tuple[str, ...]:
    """Return one name, or several, as several."""
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
