"""Acts on every client of the process: prompt ends, redirected connections."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from ..originals import variable
from ..pytest_internals import LEAKS_ON_PURPOSE, leaks_on_purpose
from ..summary import add_to_summary
from ..wire.endpoint import MQTTEndpoint
from .admission import admit
from .ending import end_client
from .listeners import ClientListener
from .network_loop import network_loop_of
from .paho_internals import name_of
from .pool import means_a_test_broker


class RedirectedClients(ClientListener):
    """Sends connections to hard-coded addresses to the session's broker."""

    def __init__(self, endpoint: MQTTEndpoint, ports: Sequence[int]) -> None:
        self._endpoint = endpoint
        self._ports = ports

    def route(self, client: mqtt.Client, host: str, port: int) -> tuple[str, int]:
        """Send *client* to the session's broker if it wants one of the ports."""
        if port not in self._ports or means_a_test_broker(client, host, port):
            return host, port
        admit(client, self._endpoint)
        return self._endpoint.host, self._endpoint.port


class PromptClients(ClientListener):
    """Ends the clients that a test leaves running, and names the test; a plugin while in use."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._made_in: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._of_the_test: list[Any] = []
        self._wider_fixtures: list[str] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Take part in the life of clients, fixtures and tests."""
        self._config.pluginmanager.register(self)
        with super().active():
            yield
            self._end(list(self._made_in))
        self._config.pluginmanager.unregister(self)

    def created(self, client: mqtt.Client) -> None:
        """Note *client*; one that a fixture of a wider scope makes outlives the test."""
        self._made_in[client] = variable("PYTEST_CURRENT_TEST", "no test").split(" ")[0]
        if not self._wider_fixtures:
            self._of_the_test.append(client)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Know while a fixture wider than a test is set up; ``setUpClass`` is one to pytest."""
        if fixturedef.scope == "function":
            yield
            return
        self._wider_fixtures.append(fixturedef.argname)
        yield
        self._wider_fixtures.pop()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Stop what the test left running, once its own fixtures are through."""
        yield
        clients, self._of_the_test = self._of_the_test, []
        if leaks_on_purpose(item):
            for client in clients:
                self._made_in.pop(client, None)
        else:
            self._end(clients)

    def _end(self, clients: Iterable[Any]) -> None:
        for client in clients:
            thread = network_loop_of(client)
            if client.socket() is not None or (thread is not None and thread.is_alive()):
                self._end_and_name(client)

    def _end_and_name(self, client: Any) -> None:
        line = (
            f"{self._made_in[client]}: client {name_of(client)}: call disconnect() and "
            f"loop_stop(), or mark the test {LEAKS_ON_PURPOSE} if others use the client"
        )
        try:
            end_client(client, timeout=1.0)
        except TimeoutError as error:
            line += f" ({error})"
        add_to_summary("MQTT clients left running (stopped)", line)
