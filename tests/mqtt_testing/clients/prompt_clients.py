"""Ends the clients that tests leave running, of all that the process has."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from traceback import walk_stack
from types import FrameType
from typing import Any, Callable, NamedTuple

import paho.mqtt.client as mqtt
import pytest

from ..originals import KIT, os, socket, variable
from ..pytest_internals import LEAKS_ON_PURPOSE, leaks_on_purpose, sets_up_for_several_tests
from ..summary import add_to_summary
from .ending import end_client, end_connection, is_in_use
from .lingering import libraries
from .listeners import ClientListener
from .paho_internals import PAHO_MODULE, name_of
from .sockets import is_connection_open


class _Origin(NamedTuple):
    """Where a client was made, in which test, and whether for more than that test."""

    place: str
    test: str
    is_wide: bool


class PromptClients(ClientListener):
    """Ends the clients that a test leaves running, and names the test; a plugin while in use."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._origins: weakref.WeakKeyDictionary[Any, _Origin] = weakref.WeakKeyDictionary()
        self._of_the_test: list[Any] = []  # clients of paho, which close in disorder if forgotten

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
        self.opened(client)
        if not sets_up_for_several_tests():
            self._of_the_test.append(client)

    def opened(self, connection: Any) -> None:
        """Note a connection, in the same way."""
        test = variable("PYTEST_CURRENT_TEST", "no test").split(" ")[0]
        place = _place_of_call(self._config.rootpath)
        self._origins[connection] = _Origin(place, test, sets_up_for_several_tests())

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Stop what the test left running, once its own fixtures are through."""
        yield
        of_the_test = [client for client, origin in self._origins.items() if not origin.is_wide]
        self._of_the_test.clear()
        if leaks_on_purpose(item):
            for client in of_the_test:
                del self._origins[client]
        else:
            self._end(of_the_test)

    def _end(self, clients: Iterable[Any]) -> None:
        for client in clients:
            if isinstance(client, socket.socket):
                if is_connection_open(client):
                    what = f"the connection from port {client.getsockname()[1]}"
                    self._end_and_name(client, end_connection, what, "disconnect and close")
            elif is_in_use(client):
                remedy = "call disconnect() and loop_stop()"
                self._end_and_name(client, end_client, f"client {name_of(client)}", remedy)

    def _end_and_name(self, client: Any, end: Callable[..., None], name: str, remedy: str) -> None:
        what = f"{name} of {self._origins[client].test}"
        try:
            end(client, timeout=1.0)
        except TimeoutError as error:
            what += f" ({error})"
        add_to_summary(
            "MQTT clients left running (stopped)",
            f"made at {self._origins[client].place}: {remedy}, or mark the test "
            f"{LEAKS_ON_PURPOSE} if others use the client",
            what,
        )


def _place_of_call(root: Path) -> str:
    """Return the line that makes a client: outside of libraries, if there is such a one."""
    frames = [frame for frame, _ in walk_stack(None) if not _is_ours_or_pahos(frame)]
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(libraries())]
    frame = (own or frames)[0]
    file = frame.f_code.co_filename
    return f"{os.path.relpath(file, root) if os.path.isabs(file) else file}:{frame.f_lineno}"


def _is_ours_or_pahos(frame: FrameType) -> bool:
    is_pahos = frame.f_globals.get("__name__", "").startswith(PAHO_MODULE)
    return is_pahos or frame.f_code.co_filename.startswith(KIT)
