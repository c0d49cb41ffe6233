"""Ends the clients that tests leave running, of all that the process has."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from traceback import walk_stack
from types import FrameType
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
import pytest

from ..originals import os, variable
from ..pytest_internals import LEAKS_ON_PURPOSE, leaks_on_purpose
from ..summary import add_to_summary
from .current_scope import current_scope
from .ending import end_client, is_in_use
from .lingering import LIBRARIES
from .listeners import ClientListener
from .paho_internals import PAHO_MODULE, name_of

_KIT = str(Path(__file__).resolve().parent.parent)


class _Origin(NamedTuple):
    """Where a client was made, and in which test."""

    place: str
    test: str


class PromptClients(ClientListener):
    """Ends the clients that a test leaves running, and names the test; a plugin while in use."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._origins: weakref.WeakKeyDictionary[Any, _Origin] = weakref.WeakKeyDictionary()
        self._of_the_test: list[Any] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Take part in the life of clients and tests."""
        self._config.pluginmanager.register(self)
        with super().active():
            yield
            self._end(list(self._origins))
        self._config.pluginmanager.unregister(self)

    def created(self, client: mqtt.Client) -> None:
        """Note *client*; one that a fixture of a wider scope makes outlives the test."""
        test = variable("PYTEST_CURRENT_TEST", "no test").split(" ")[0]
        self._origins[client] = _Origin(_place_of_call(), test)
        if not current_scope.is_wide:
            self._of_the_test.append(client)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Stop what the test left running, once its own fixtures are through."""
        yield
        clients, self._of_the_test = self._of_the_test, []
        if leaks_on_purpose(item):
            for client in clients:
                self._origins.pop(client, None)
        else:
            self._end(clients)

    def _end(self, clients: Iterable[Any]) -> None:
        for client in filter(is_in_use, clients):
            self._end_and_name(client)

    def _end_and_name(self, client: Any) -> None:
        origin = self._origins[client]
        what = f"client {name_of(client)} of {origin.test}"
        try:
            end_client(client, timeout=1.0)
        except TimeoutError as error:
            what += f" ({error})"
        add_to_summary(
            "MQTT clients left running (stopped)",
            f"made at {origin.place}: call disconnect() and loop_stop(), or mark the test "
            f"{LEAKS_ON_PURPOSE} if others use the client",
            what,
        )


def _place_of_call() -> str:
    """Return the line that makes a client: outside of libraries, if there is such a one."""
    frames = [frame for frame, _ in walk_stack(None) if not _is_ours_or_pahos(frame)]
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(LIBRARIES)]
    frame = (own or frames)[0]
    return f"{os.path.relpath(frame.f_code.co_filename)}:{frame.f_lineno}"


def _is_ours_or_pahos(frame: FrameType) -> bool:
    is_pahos = frame.f_globals.get("__name__", "").startswith(PAHO_MODULE)
    return is_pahos or frame.f_code.co_filename.startswith(_KIT)
