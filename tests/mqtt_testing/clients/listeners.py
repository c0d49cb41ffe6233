"""Listens to the life of every paho client of the process."""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import sys
import types
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Callable, TypeVar

import paho.mqtt.client as mqtt
import pytest

from ..originals import socket, threading
from ..wire.own_connections import left_alone
from . import paho_internals as paho
from .event_loop import know_event_loop, note_event_loop
from .network_loop import (
    RUN_BY_HAND,
    STAY_IN_LOOP,
    TOLD_TO_CONNECT,
    PromptTime,
    StayInLoop,
    connected,
    network_loop_of,
    pausing,
    stop_network_loop,
    tell_to_connect,
    wake_up_of,
    wake_up_pair,
)
from .paho_internals import PAHO_MODULE, RealClient, UnheardClient
from .traffic import note_answered, note_published, topic_meant


class ClientListener:
    """Listens to the life of every paho client of the process while it is active."""

    def created(self, client: mqtt.Client) -> None:
        """Called when a client has been made."""

    def route(
        self,
        client: mqtt.Client,  # noqa: ARG002
        host: str,
        port: int,
    ) -> tuple[str, int]:
        """Return where *client* is to connect, which was told to connect to *host* and *port*."""
        return host, port

    def connecting(self, client: mqtt.Client, host: str, port: int) -> None:
        """Called when *client* is about to connect to *host* and *port*."""

    def answering(self, client: mqtt.Client) -> None:
        """Called when *client* is about to handle its CONNACK: a test may go on at any time."""

    def answered(self, client: mqtt.Client) -> None:
        """Called when *client* has had its CONNACK, and its ``on_connect`` is through."""

    def opened(self, connection: socket.socket) -> None:
        """Called when *connection*, of no paho client, is led to a broker of the tests."""

    def published(
        self, client: mqtt.Client, topic: str, qos: int, info: mqtt.MQTTMessageInfo
    ) -> None:
        """Called when *client* has accepted a message for publication."""

    def served(self, client: mqtt.Client) -> None:
        """Called when a thread is about to run the network loop of *client* itself."""

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Listen from here to the end of the ``with`` block."""
        _listeners.append(self)
        if len(_listeners) == 1:
            _paho_patch.apply()
        try:
            yield
        finally:
            _listeners.remove(self)
            if not _listeners:
                _paho_patch.undo()


_listeners: list[ClientListener] = []

_Kind = TypeVar("_Kind", bound=ClientListener)


def listeners_of(kind: type[_Kind]) -> list[_Kind]:
    """Return the listeners of a kind that are active."""
    return [listener for listener in tuple(_listeners) if isinstance(listener, kind)]


known_clients: weakref.WeakSet[Any] = weakref.WeakSet()
"""Those that were told to connect while there was a listener."""

SENDS_AT_ONCE = "_mqtt_sends_at_once"  # what clients on loan have


class _PahoPatch(importlib.abc.MetaPathFinder):
    """Wraps the methods of paho's Client that matter here, of every copy of paho there is.

    The class is changed in place, not replaced: that reaches subclasses, and services that
    imported the name long ago. A suite that imports paho anew gets a new class; therefore this
    is a finder as well, first in ``sys.meta_path``, that wraps the methods of that one too.
    """

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()

    def apply(self) -> None:
        paho.check_paho()
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
        """Find paho's client module as Python would, and wrap it once it has run."""
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
        namespace = paho.namespace_of(client_class)
        for name, around in AROUND_METHODS.items():
            wrapped = _wrap(getattr(client_class, name), around)
            self._patch.setattr(client_class, name, wrapped)
        self._patch.setitem(namespace, "time", PromptTime())
        self._patch.setitem(namespace, "_socketpair_compat", wake_up_pair)


def _copies_of_client() -> list[type]:
    """Return paho's Client, once for each time that it was imported anew."""
    name = (PAHO_MODULE, RealClient.__name__)
    return [c for c in object.__subclasses__() if (c.__module__, c.__name__) == name]


def _wrap(method: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(client: mqtt.Client, *args: Any, **kwargs: Any) -> Any:
        return around(method, client, *args, **kwargs)

    return wrapped


def _listeners_of(client: mqtt.Client) -> Sequence[ClientListener]:
    """Return the listeners of a client: none of the shared connection's own."""
    return () if isinstance(client, UnheardClient) else tuple(_listeners)


def _around_init(method: Callable[..., None], client: Any, *args: Any, **kwargs: Any) -> None:
    method(client, *args, **kwargs)
    for listener in _listeners_of(client):
        listener.created(client)


def _around_connect(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    """Connect in this thread, by ``connect_async()`` and ``reconnect()``."""
    vars(client)[_CONNECTING] = True
    try:
        return method(client, *args, **kwargs)
    finally:
        vars(client).pop(_CONNECTING, None)


_CONNECTING = "_mqtt_connecting"


def _around_connect_async(
    method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any
) -> Any:
    result = method(client, *args, **kwargs)
    if _listeners_of(client):
        known_clients.add(client)
        vars(client)[_ABOUT_TO_CONNECT] = True
    if _CONNECTING not in vars(client):
        tell_to_connect(client)
    return result


_ABOUT_TO_CONNECT = "_mqtt_about_to_connect"


def is_about_to_connect(client: Any) -> bool:
    """Return whether *client* was told to connect, and has not yet failed or succeeded in that."""
    return _ABOUT_TO_CONNECT in vars(client)


def _around_reconnect_wait(method: Callable[..., Any], client: Any) -> Any:
    with pausing(client):
        return None if TOLD_TO_CONNECT in vars(client) else method(client)


def _around_reconnect(method: Callable[..., Any], client: Any) -> Any:
    """Connect, unless another thread has just done that and wakes the network loop."""
    was_told = vars(client).pop(TOLD_TO_CONNECT, False)
    is_network_loop = network_loop_of(client) is threading.current_thread()
    if was_told and is_network_loop and client.socket() is not None:
        return mqtt.MQTT_ERR_SUCCESS
    try:
        result = _connect_as_routed(method, client)
    finally:
        vars(client).pop(_ABOUT_TO_CONNECT, None)
    if not is_network_loop:
        tell_to_connect(client)  # with this connection
        network_loop = network_loop_of(client)
        if network_loop is not None and paho.is_connected(client):  # it has been quicker
            connected(client, network_loop)
    return result


def _connect_as_routed(method: Callable[..., Any], client: Any) -> Any:
    """Connect, perhaps elsewhere; the client goes on to believe in the address it was given."""
    given = host, port = paho.address_of(client)
    if host and port > 0:  # paho itself refuses others
        for listener in _listeners_of(client):
            host, port = listener.route(client, host, port)
        for listener in _listeners_of(client):
            listener.connecting(client, host, port)
    paho.set_address(client, (host, port))
    try:
        with left_alone():  # it is led already, or is not to be
            result = method(client)
    finally:
        paho.set_address(client, given)
    if isinstance(client, UnheardClient) or SENDS_AT_ONCE in vars(client):
        send_at_once(client)
    if vars(client).get("reconnect") is paho.refuse_to_reconnect:  # its loan has ended meanwhile
        paho.class_of(client).disconnect(client)
    return result


def _around_connack(method: Callable[..., Any], client: Any) -> Any:
    note_event_loop(client)
    listeners = _listeners_of(client)
    if listeners:
        note_answered(client)
    for listener in listeners:
        listener.answering(client)
    try:
        return method(client)
    finally:  # its on_connect may raise
        connected(client, threading.current_thread())
        for listener in listeners:
            listener.answered(client)


def _around_publish(
    method: Callable[..., Any],
    client: Any,
    topic: str,
    payload: Any = None,
    qos: int = 0,
    retain: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Any:
    know_event_loop(client)
    info = method(client, topic, payload, qos, retain, *args, **kwargs)
    listeners = _listeners_of(client)
    if listeners:
        topic = topic_meant(client, topic, *args, **kwargs)
        note_published(client, topic, payload, qos, retain)
    for listener in listeners:
        listener.published(client, topic, qos, info)
    return info


def _around_loop(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    vars(client)[RUN_BY_HAND] = True
    _tell_served(client)
    return method(client, *args, **kwargs)


def _tell_served(client: Any) -> None:
    for listener in _listeners_of(client):
        listener.served(client)


def _around_loop_forever(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    """Note the thread: what ends the client waits for it to be out of there."""
    thread = threading.current_thread()
    if thread is paho.own_thread_of(client):  # of loop_start(), which goes on here
        return method(client, *args, **kwargs)
    wake_up_of(thread).clear()  # of another client that was ended here
    stay = vars(client)[STAY_IN_LOOP] = StayInLoop(thread)
    try:
        _tell_served(client)
        if not paho.has_wake_up_pair(client):
            # It is not closed at the end: another thread may be about to use it.
            paho.set_wake_up_pair(client, wake_up_pair())
        return method(client, *args, **kwargs)
    finally:
        stay.over.set()


def _around_loop_stop(method: Callable[..., Any], client: Any, *args: Any, **kwargs: Any) -> Any:
    thread = paho.own_thread_of(client)
    if thread is None:
        return method(client, *args, **kwargs)
    stop_network_loop(client, thread)
    try:
        result = method(client, *args, **kwargs)
    except AttributeError:
        # paho 2 forgets its thread as that ends, which may be just before it waits for it,
        if paho.own_thread_of(client) is not None:
            raise
        return mqtt.MQTT_ERR_SUCCESS
    # or before it looks whether there is one to stop. There was.
    return mqtt.MQTT_ERR_SUCCESS if result == mqtt.MQTT_ERR_INVAL else result


AROUND_METHODS: dict[str, Callable[..., Any]] = {
    "__init__": _around_init,
    "connect": _around_connect,
    "connect_async": _around_connect_async,
    "reconnect": _around_reconnect,  # connect() and the network loop go through it
    "_reconnect_wait": _around_reconnect_wait,
    "loop": _around_loop,
    "loop_forever": _around_loop_forever,
    "loop_stop": _around_loop_stop,
    "publish": _around_publish,
    "_handle_connack": _around_connack,
}


def send_at_once(client: Any) -> None:
    """Switch Nagle's algorithm off: with it, QoS 1 and 2 round trips take 44 ms and more."""
    raw = paho.raw_socket(client)
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def tell_opened(connection: socket.socket) -> None:
    """Tell the listeners of a connection that is of no paho client."""
    for listener in tuple(_listeners):
        listener.opened(connection)


def is_listening() -> bool:
    """Return whether clients that connect now are noted."""
    return bool(_listeners)


_paho_patch = _PahoPatch()
