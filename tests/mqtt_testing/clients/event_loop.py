"""Clients that an event loop serves: what can be told to it, and in which thread."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt

from ..broker.errors import BrokerError
from ..originals import select, start_unwatched, threading, time
from . import limits
from . import paho_internals as paho
from .lingering import lingering_tasks

if TYPE_CHECKING:
    import asyncio

Telling = Callable[[Callable[[], object]], AbstractContextManager[None]]

_SERVED_BY = "_mqtt_event_loop"


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; None where none does."""
    asyncio: Any = sys.modules.get("asyncio")
    try:
        return asyncio.get_running_loop() if asyncio else None
    except RuntimeError:
        return None


async def told(telling: Telling, timeout: float | None = None) -> bool:
    """Await that ``with telling(tell)`` calls *tell*, in whatever thread, for *timeout* seconds."""
    import asyncio

    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(resolve)

    with telling(tell):
        # asyncio.wait_for() swallows some cancellations before Python 3.12.
        await asyncio.wait({future}, timeout=timeout)
    return future.done()


async def settled(act: Callable[[], object]) -> None:
    """Await that a thread has called *act*, and let the loop handle what has come by then."""

    @contextlib.contextmanager
    def calling(tell: Callable[[], object]) -> Iterator[None]:
        def act_and_tell() -> None:
            with contextlib.suppress(BrokerError):  # a broker that is stopped has nothing to add
                act()
            tell()

        start_unwatched(threading.Thread(target=act_and_tell, daemon=True))
        yield

    await told(calling, limits.TIMEOUT)
    await handled()


async def handled() -> None:
    """Let the loop handle what has come."""
    import asyncio

    for _ in range(SETTLING_ROUNDS):
        await asyncio.sleep(0)


SETTLING_ROUNDS = 10
"""Rounds of a loop in which it reads an acknowledgement, and resumes the task that awaits it."""


def note_event_loop(client: Any) -> None:
    """Note which event loop serves *client*, whose CONNACK is being handled."""
    loop = running_loop()
    vars(client)[_SERVED_BY] = weakref.ref(loop) if loop else _no_loop
    if loop:
        lingering_tasks.know(loop)


def know_event_loop(client: Any) -> None:
    """Note it for *client*, which publishes here, if its CONNACK came before any was noted.

    A fixture of a wider scope may have connected it before there was a pool.
    """
    if _SERVED_BY not in vars(client) and running_loop() and client.on_socket_register_write:
        note_event_loop(client)


def _no_loop() -> None:
    """Stand for the loop of a client that none serves."""


def event_loop_of(client: Any) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that serves *client*; None where none does, or it is gone."""
    loop: asyncio.AbstractEventLoop | None = vars(client).get(_SERVED_BY, _no_loop)()
    return loop


def is_served_by_event_loop(client: Any) -> bool:
    """Return whether *client* had its CONNACK in an event loop, and has no thread of its own."""
    is_noted = vars(client).get(_SERVED_BY, _no_loop) is not _no_loop
    return is_noted and paho.own_thread_of(client) is None


def in_thread_of_event_loop(client: Any, act: Callable[[Any], object]) -> threading.Event:
    """Call *act* with *client*: here, or in the thread in which the event loop that serves it runs.

    Returns:
        an event that is set once that is done.
    """
    loop, done = event_loop_of(client), threading.Event()

    def act_and_tell() -> None:
        try:
            act(client)
        finally:
            done.set()

    if loop is None or loop is running_loop() or not loop.is_running():
        act_and_tell()
    else:
        with contextlib.suppress(RuntimeError):  # it has closed this very moment
            loop.call_soon_threadsafe(act_and_tell)
    return done


def send_beside_event_loop(client: Any, packet: bytes) -> None:
    """Send *packet* without a word to the event loop that serves *client*.

    Until the loop has added a writer, there is nothing to write any more, and the socket may be
    closed.
    """
    paho.append_packet(client, packet)
    in_thread_of_event_loop(client, write_all)


def write_all(client: Any) -> None:
    """Write all that is queued; the event loop stands still meanwhile."""
    deadline = time.monotonic() + limits.TIMEOUT
    while client.want_write() and client.socket() and time.monotonic() < deadline:
        select.select([], [client.socket()], [], limits.LOOK_INTERVAL)
        with contextlib.suppress(RuntimeError):  # of its on_publish, whose event loop is closed
            if paho.write_packets(client) not in (mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_AGAIN):
                return


def leave_event_loop(client: Any) -> None:
    """Let the event loop of *client* not be told to write any more, since the socket closes.

    What it was told already, it does now where it stands still: later it would meet a closed
    socket, or, under the same number, that of another.
    """
    if not is_served_by_event_loop(client):
        return
    paho.drop_callbacks(client, ["on_socket_register_write"])
    loop = event_loop_of(client)
    stands_still = loop and not (loop.is_closed() or loop.is_running() or running_loop())
    if loop and stands_still and paho.is_writing(client):
        import asyncio

        loop.run_until_complete(asyncio.sleep(0))
