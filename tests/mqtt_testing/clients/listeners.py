"""Takes part in the life of every paho client of the process."""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import paho.mqtt.client as mqtt
import pytest

from .network_loop import (
    STAY_IN_LOOP,
    InterruptibleTime,
    StayInLoop,
    stop_network_loop,
    wake_up_of,
    wake_up_pair,
)
from .observing_client import ObservingClient
from .paho_internals import (
    PAHO_MODULE,
    RealClient,
    paho_class_of,
    refuse_to_reconnect,
    send_at_once,
)


class ClientScope:
    """Takes part in the life of every paho client that is made while it is active."""

    def created(self, client: mqtt.Client) -> None:
        """Hear of a new client."""

    def route(
        self,
        client: mqtt.Client,  # noqa: ARG002
        host: str,
        port: int,
    ) -> tuple[str, int]:
        """Say where *client* connects that was told to connect to *host* and *port*."""
        return host, port

    def connecting(self, client: mqtt.Client, host: str, port: int) -> None:
        """Hear that *client* is about to connect to *host* and *port*."""

    def answered(self, client: mqtt.Client) -> None:
        """Hear that *client* has had its CONNACK, and that its ``on_connect`` is through."""

    def published(
        self, client: mqtt.Client, topic: str, qos: int, info: mqtt.MQTTMessageInfo
    ) -> None:
        """Hear of a message that *client* has accepted for publication."""

    def served(self, client: mqtt.Client) -> None:
        """Hear that somebody is about to run the network loop of *client* in his own thread."""

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Take part from here to the end of the ``with`` block."""
        _scopes.append(self)
        if len(_scopes) == 1:
            _paho_patch.apply()
        try:
            yield
        finally:
            _scopes.remove(self)
            if not _scopes:
                _paho_patch.undo()


_scopes: list[ClientScope] = []


class _PahoPatch(importlib.abc.MetaPathFinder):
    """Wraps the methods of paho's Client that matter here, of every copy of paho there is.

    The class is changed in place, not replaced: that reaches subclasses, and services that
    imported the name long ago. A suite that imports paho anew gets a new class; therefore this
    is a finder as well, first in ``sys.meta_path``, that wraps the methods of that one too.
    """

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()

    def apply(self) -> None:
        for client_class in _copies_of_client():
            self._wrap_methods(client_class)
        sys.meta_path.insert(0, self)

    def undo(self) -> None:
        sys.meta_path.remove(self)
        self._patch.undo()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find paho's client module as Python would, and have it wrapped once it has run."""
        if fullname != PAHO_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: types.ModuleType) -> None:
            execute(module)
            self._wrap_methods(module.Client)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrap_methods(self, client_class: Any) -> None:
        # Those of a method that nobody wraps, of a module that may be in sys.modules no more.
        module = client_class._reset_sockets.__globals__
        for name, around in _AROUND_METHODS.items():
            wrapped = _wrap(getattr(client_class, name), around)
            self._patch.setattr(client_class, name, wrapped)
        self._patch.setitem(module, "time", InterruptibleTime())
        self._patch.setitem(module, "_socketpair_compat", wake_up_pair)


def _copies_of_client() -> list[type]:
    """Return paho's Client, once for each time that somebody has imported it anew."""
    name = (PAHO_MODULE, RealClient.__name__)
    return [c for c in object.__subclasses__() if (c.__module__, c.__name__) == name]


def _wrap(method: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(client: mqtt.Client, *args: Any, **kwargs: Any) -> Any:
        return around(method, client, *args, **kwargs)

    return wrapped


def _scopes_of(client: mqtt.Client) -> Sequence[ClientScope]:
    """Return who takes part in the life of a client: nobody else in that of our own."""
    return () if isinstance(client, ObservingClient) else tuple(_scopes)


def _around_init(method: Callable[..., None], client: Any, *args: Any, **kwargs: Any) -> None:
    method(client, *args, **kwargs)
    for scope in _scopes_of(client):
        scope.created(client)


def _around_reconnect(method: Callable[..., Any], client: Any) -> Any:
    """Connect, perhaps elsewhere; the client goes on to believe in the address it was given."""
    given = host, port = client._host, client._port
    if host and port > 0:  # paho has its own word to say about others
        for scope in _scopes_of(client):
            host, port = scope.route(client, host, port)
        for scope in _scopes_of(client):
            scope.connecting(client, host, port)
    client._host, client._port = host, port
    try:
        result = method(client)
    finally:
        client._host, client._port = given
    send_at_once(client)
    if vars(client).get("reconnect") is refuse_to_reconnect:  # its loan has ended meanwhile
        paho_class_of(client).disconnect(client)
    return result


def _around_connack(method: Callable[..., Any], client: Any) -> Any:
    try:
        return method(client)
    finally:  # its on_connect may raise
        for scope in _scopes_of(client):
            scope.answered(client)


def _around_publish(
    method: Callable[..., Any],
    client: Any,
    topic: str,
    payload: Any = None,
    qos: int = 0,
    *args: Any,
    **kwargs: Any,
) -> Any:
    info = method(client, topic, payload, qos, *args, **kwargs)
    for scope in _scopes_of(client):
        scope.published(client, topic, qos, info)
    return info


def _around_loop(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    for scope in _scopes_of(client):
        scope.served(client)
    return method(client, *args, **kwargs)


def _around_loop_forever(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    """Note whose thread it is, so that who ends the client can wait for it to be out of there."""
    thread = threading.current_thread()
    if thread is client._thread:  # of loop_start(), which goes on here
        return method(client, *args, **kwargs)
    wake_up_of(thread).clear()  # of another client that was ended here
    stay = vars(client)[STAY_IN_LOOP] = StayInLoop(thread)
    try:
        return _around_loop(method, client, *args, **kwargs)
    finally:
        stay.over.set()


def _around_loop_stop(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    thread = client._thread
    if thread is None:
        return method(client, *args, **kwargs)
    stop_network_loop(client, thread)
    try:
        result = method(client, *args, **kwargs)
    except AttributeError:
        # paho 2 forgets its thread as that ends, which may be just before it waits for it,
        if client._thread is not None:
            raise
        return mqtt.MQTT_ERR_SUCCESS
    # or before it looks whether there is one to stop. There was.
    return mqtt.MQTT_ERR_SUCCESS if result == mqtt.MQTT_ERR_INVAL else result


_AROUND_METHODS: dict[str, Callable[..., Any]] = {
    "__init__": _around_init,
    "reconnect": _around_reconnect,  # connect() and the network loop go through it
    "loop": _around_loop,
    "loop_forever": _around_loop_forever,
    "loop_stop": _around_loop_stop,
    "publish": _around_publish,
    "_handle_connack": _around_connack,
}

_paho_patch = _PahoPatch()
