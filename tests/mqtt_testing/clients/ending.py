"""Ends a client, and proves that the broker is done with it."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..originals import os, select, socket, threading, time
from ..wire.packets import DISCONNECT
from . import limits
from . import paho_internals as paho
from .event_loop import in_thread_of_event_loop, leave_event_loop
from .network_loop import (
    StayInLoop,
    may_be_in_loop,
    network_loop_of,
    stay_in_loop,
    stop_network_loop,
    write_if_no_loop_does,
)

_CALLBACKS = """
    on_connect on_connect_fail on_disconnect on_log on_message on_pre_connect on_publish
    on_subscribe on_unsubscribe
""".split()

# An asyncio loop unregisters the socket in these.
_SOCKET_CALLBACKS = """
    on_socket_open on_socket_close on_socket_register_write on_socket_unregister_write
""".split()


def end_client(client: Any, timeout: float = limits.TIMEOUT) -> None:
    """Disconnect *client*, end its network loop, and prove that the broker is done with it.

    None of its callbacks runs from here on. The proof is the end of the stream from the broker,
    which closes a connection once it has processed everything that came before DISCONNECT.

    Raises:
        TimeoutError: the broker did not close the connection, or a callback blocks the network
            loop, for *timeout* seconds.
    """
    paho.drop_callbacks(client, _CALLBACKS)
    leave_event_loop(client)
    _forgive_socket_callbacks(client)
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as opened:
        stream = _duplicate_stream(client) if paho.is_connected(client) else None
        if stream is not None:
            opened.enter_context(stream)
        if not in_thread_of_event_loop(client, _disconnect).wait(limits.CALLBACK_PATIENCE):
            _cut_off(client)
        try:
            _end_network_loop(client, deadline)
        except TimeoutError:
            _cut_off(client)
            raise
        _write_what_is_left(client, deadline)
        paho.drop_callbacks(client, _SOCKET_CALLBACKS)
        if not may_be_in_loop(client):
            paho.close_wake_up_pair(client)  # which paho leaves to the collector
        if stream is not None:
            _wait_for_end(stream, deadline)


def end_connection(connection: socket.socket, timeout: float = limits.TIMEOUT) -> None:
    """Disconnect a client that is not paho's, and return when the broker is done with it.

    What the client holds back it cannot send any more.

    Raises:
        TimeoutError: the broker did not close the connection for *timeout* seconds.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as stream:
        stream.settimeout(timeout)
        try:
            with contextlib.suppress(ConnectionError):  # it may end at any time
                stream.sendall(DISCONNECT)
                _wait_for_end(stream, time.monotonic() + timeout)
        finally:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)


def is_in_use(client: Any) -> bool:
    """Return whether *client* has a connection, or a thread that looks for one."""
    thread = network_loop_of(client)
    return client.socket() is not None or (thread is not None and thread.is_alive())


def _disconnect(client: Any) -> None:
    with contextlib.suppress(OSError):  # of paho 1.6, where the test has closed the socket
        paho.class_of(client).disconnect(client, properties=_properties_to_end_with(client))
        write_if_no_loop_does(client)


def _cut_off(client: Any) -> None:
    """Take the connection from a client whose network loop is kept in a callback."""
    paho.drop_callbacks(client, _SOCKET_CALLBACKS)  # they would wait for the other callback
    raw = paho.raw_socket(client)
    if raw is not None:
        with contextlib.suppress(OSError):
            client.loop_write()  # DISCONNECT, so that its will is not published
            raw.shutdown(socket.SHUT_RDWR)


def _forgive_socket_callbacks(client: Any) -> None:
    """Let a client end whose socket an event loop watches that is closed, as its test is over."""
    for name in _SOCKET_CALLBACKS:
        callback = getattr(client, name)
        if callback is not None:
            setattr(client, name, functools.partial(_call_and_forgive, callback))


def _call_and_forgive(callback: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(Exception):
        callback(*args)


def _properties_to_end_with(client: Any) -> Properties | None:
    """Return what ends the session too: its client id, if the broker chose it, is unknown."""
    if not paho.speaks_mqtt_5(client):
        return None
    properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    return properties


def _duplicate_stream(client: Any) -> socket.socket | None:
    connection = client.socket()
    try:
        return socket.socket(fileno=os.dup(connection.fileno())) if connection else None
    except OSError:  # closed by the test, or by the network loop this very moment
        return None


def _write_what_is_left(client: Any, deadline: float) -> None:
    """Send what did not fit into the connection's buffer, DISCONNECT at the end of it."""
    with contextlib.suppress(OSError, ValueError):  # the connection may end at any time
        while client.want_write() and client.socket() and time.monotonic() < deadline:
            select.select([], [client.socket()], [], max(0.0, deadline - time.monotonic()))
            if client.loop_write() != mqtt.MQTT_ERR_SUCCESS:
                return


def _end_network_loop(client: Any, deadline: float) -> None:
    stay, thread = stay_in_loop(client), network_loop_of(client)
    if thread is None or thread is threading.current_thread():
        return
    stop_network_loop(client, thread)
    if stay is not None:
        has_ended = _await_leaving(client, stay, deadline)
    else:
        thread.join(max(0.0, deadline - time.monotonic()))
        has_ended = not thread.is_alive()
    if not has_ended:
        raise TimeoutError(f"the network loop {thread.name} is blocked in a callback")
    paho.forget_own_thread(client)


def _await_leaving(client: Any, stay: StayInLoop, deadline: float) -> bool:
    """Wait for a thread to be out of ``loop_forever()``, unless it is about to connect."""
    while not stay.over.wait(limits.LOOK_INTERVAL):
        if client.socket() is None and not paho.is_in_callback(client):
            return True  # it will find that it has to stop
        if time.monotonic() > deadline:
            return False
    return True


def _wait_for_end(stream: socket.socket, deadline: float) -> None:
    while time.monotonic() < deadline:
        stream.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            if not stream.recv(65536):
                return
        except ConnectionError:
            return
        except socket.timeout:
            break
    raise TimeoutError("the broker has not closed the connection")
