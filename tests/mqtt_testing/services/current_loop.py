"""Fixtures that are async in async tests, in the way of the plugin that runs those."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from ..clients.async_tests import is_async, register_where_async


class _InLoop(NamedTuple):
    function: Any
    set_up: Callable[[pytest.FixtureRequest], tuple[Any, Any]]


_OFFER = "_mqtt_in_loop"


def offer_in_loop(function: Any, in_loop: Any, set_up: Callable[..., tuple[Any, Any]]) -> None:
    """Let a fixture's *function* be another, an async generator, where its test is async.

    Before that, *set_up* requests what is needed, since nothing can be in a running loop; what it
    returns first builds a service.
    """
    setattr(function, _OFFER, _InLoop(in_loop, set_up))


class _InAsyncTests:
    """A plugin of runs that have async tests."""

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """Give plugins the async function of a fixture that has one, in an async test."""
        offered = getattr(fixturedef.func, _OFFER, None)
        if offered is None or not _runs_in_loop(request.node):
            yield
            return
        with contextlib.suppress(Exception):  # which the fixture itself will meet, and say better
            build, _ = offered.set_up(request)
            if not may_need_loop(build):
                yield
                return
        with pytest.MonkeyPatch.context() as patch:
            marker = request.node.get_closest_marker("asyncio")
            function = offered.function
            if marker is not None and not _takes_async_functions_now():
                function = _run_by_hand(function, _loop_that_runs(request))
            patch.setattr(fixturedef, "func", function)
            # As pytest_asyncio.fixture() marks a function, which may not be imported.
            vars(offered.function).update(
                _force_asyncio_fixture=marker is not None,
                _loop_scope=marker and _scope_of_loop(marker, request.config),
            )
            yield


_in_async_tests = _InAsyncTests()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let fixtures be async where there are async tests."""
    register_where_async(_in_async_tests, config, items)


def _takes_async_functions_now() -> bool:
    """Return whether pytest-asyncio looks for async fixtures as they are set up.

    Before version 1.1 it does as tests are collected.
    """
    plugin: Any = sys.modules.get("pytest_asyncio")
    version = getattr(plugin, "__version__", "1.1").split(".")[:2]
    return [int(part) for part in version] >= [1, 1]


def _loop_that_runs(request: Any) -> Any:
    """Return the event loop that will run the test, by the fixture that pytest-asyncio has for it.

    Such as ``event_loop``, ``_module_event_loop`` and ``tests/test_it.py::<event_loop>``.
    """
    names = (n for n in request.node.fixturenames if n.rstrip(">").endswith("event_loop"))
    return request.getfixturevalue(next(names))


def _run_by_hand(function: Any, loop: Any) -> Any:
    """Return a generator that goes through an async one, in *loop*."""

    def go_through(*args: Any, **kwargs: Any) -> Iterator[Any]:
        generator = function(*args, **kwargs)
        yield loop.run_until_complete(generator.__anext__())
        with contextlib.suppress(StopAsyncIteration):
            loop.run_until_complete(generator.__anext__())

    return go_through


def _scope_of_loop(marker: pytest.Mark, config: pytest.Config) -> str | None:
    scope: str | None = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
    with contextlib.suppress(ValueError):  # before pytest-asyncio 0.26
        scope = scope or config.getini("asyncio_default_test_loop_scope")
    return scope


def _runs_in_loop(item: Any) -> bool:
    """Return whether a plugin runs a test in an event loop, and so fixtures, too."""
    is_marked = item.get_closest_marker("asyncio") or "anyio_backend" in item.fixturenames
    unittest: Any = sys.modules.get("unittest")  # whose loops are its own
    is_own = unittest and issubclass(getattr(item, "cls", None) or object, unittest.TestCase)
    return bool(is_async(item) and is_marked and not is_own)


def may_need_loop(build: Any) -> bool:
    """Return whether what *build* makes has something to do with event loops."""
    from .coroutines import class_built_by  # on use

    service_class = class_built_by(build)
    if service_class is None or inspect.iscoroutinefunction(build):
        return True
    names = (name for name in dir(service_class) if not name.startswith("__"))
    return any(inspect.iscoroutinefunction(getattr(service_class, name, None)) for name in names)
