"""The shared connection."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Callable

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..broker.connections import OBSERVER_ID_PREFIX
from ..originals import os, socket, threading, time
from ..wire.endpoint import MQTTEndpoint
from ..wire.own_connections import left_alone
from ..wire.packets import MQTTMessage, publish_packet
from . import limits
from . import paho_internals as paho
from .admission import DeadBrokerError, MQTTConnectionError, admit, constructor_options
from .ending import end_client
from .event_loop import is_served_by_event_loop, send_beside_event_loop
from .messages import History, RetainedMessages
from .network_loop import write_if_no_loop_does
from .observing_client import RETRY_DELAY, ObservingClient

UNDO_ROUNDS = 5
"""Attempts to clear what others go on retaining meanwhile; one is enough as a rule."""

BARRIER_TOPIC = "$barrier/"
"""Hidden from subscriptions to ``#``, as all topics that begin with a dollar are."""

LEAST_REFUSAL = 0x80


class Observer:
    """The shared connection: sees everything, knows what is retained, provides barriers.

    It speaks MQTT 5, which tells whether a message was published as retained.
    """

    def __init__(
        self, endpoint: MQTTEndpoint, history: History, broker_died: Callable[[], bool]
    ) -> None:
        self._endpoint = endpoint
        self._history = history
        self._broker_died = broker_died
        self._refusal: str | None = None
        self._changed = threading.Condition()
        self._barriers: set[bytes] = set()
        self._own_tokens = os.urandom(8)  # other pools on this broker send barriers as well
        self._tokens = itertools.count()
        self._subscribed = False
        self._grants = 0  # of our subscription, by the broker
        self._retained = RetainedMessages()
        self._client = paho.new_client(
            ObservingClient,
            client_id=OBSERVER_ID_PREFIX + os.urandom(8).hex(),
            protocol=mqtt.MQTTv5,
            **constructor_options(endpoint),
        )
        admit(self._client, endpoint)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message  # type: ignore[assignment]

    def connect(self) -> None:
        """Connect and learn what is retained.

        Raises:
            MQTTConnectionError: the broker refuses or does not answer.
        """
        try:
            self._client.connect(**self._endpoint.get_connection_params())
            self._client.loop_start()
            self._await_subscription()
            self.barrier()
        except MQTTConnectionError:
            self.close()
            raise
        except (OSError, RuntimeError) as error:  # RuntimeError: pytest-socket does not let us
            self.close()
            raise self._failure(error) from None

    def _failure(self, reason: object) -> MQTTConnectionError:
        if self._broker_died():
            return DeadBrokerError(self._endpoint, "the broker has ended")
        return MQTTConnectionError(self._endpoint, reason)

    @property
    def network_loop(self) -> threading.Thread | None:
        """The thread that serves the connection."""
        thread: threading.Thread | None = paho.own_thread_of(self._client)
        return thread

    def shares_broker_with(self, client: Any) -> bool:
        """Return whether a client is connected to the same address."""
        return bool(paho.peer_of(client) == paho.peer_of(self._client))

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(TimeoutError):  # a broker that hangs is no news at the end
            end_client(self._client)

    def is_connected(self) -> bool:
        """Return whether the broker has granted our subscription on an open connection."""
        return self._subscribed and paho.is_open(self._client)

    def await_connection(self) -> None:
        """Return when there is a connection: one that broke, its network loop makes anew.

        Raises:
            MQTTConnectionError: no broker is there, or it does not let us in.
        """
        deadline = time.monotonic() + limits.TIMEOUT
        while not self.is_connected():
            try:
                with left_alone():
                    socket.create_connection(
                        (self._endpoint.host, self._endpoint.port), limits.TIMEOUT
                    ).close()
            except OSError as error:
                raise self._failure(error) from None
            if time.monotonic() > deadline:
                raise self._failure(self._refusal or f"no subscription within {limits.TIMEOUT:g} s")
            with self._changed:
                self._changed.wait(RETRY_DELAY)

    def _on_connect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, *_args: Any
    ) -> None:
        if reason == 0:
            self._subscribe()
        else:
            self._refuse(paho.text_of(reason))

    def _subscribe(self) -> None:
        with self._changed:
            self._refusal = None
        self._retained.forget()
        # Without our own messages: what we clear a test's retained messages with.
        everything = SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True)
        barriers = SubscribeOptions(qos=2)
        self._client.subscribe([("#", everything), (BARRIER_TOPIC + "#", barriers)])

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, *_args: Any
    ) -> None:
        if any(paho.value_of(reason) >= LEAST_REFUSAL for reason in reasons):
            self._refuse("it does not let this user subscribe to #, by which tests are watched")
            return
        with self._changed:
            self._subscribed = True
            self._grants += 1
            self._changed.notify_all()

    def _refuse(self, reason: str) -> None:
        with self._changed:
            self._refusal = reason
            self._changed.notify_all()

    def _on_disconnect(self, *_args: Any) -> None:
        with self._changed:
            self._subscribed = False
            self._changed.notify_all()

    def _on_message(self, message: MQTTMessage) -> None:
        if not message.topic.startswith(BARRIER_TOPIC):
            self._history.append(message)
            if message.retain:
                self._retained.note(message)
        elif message.payload.startswith(self._own_tokens):
            with self._changed:
                self._barriers.add(message.payload)
                self._changed.notify_all()

    def barrier(
        self, publishers: Sequence[Any] = (), *, before: bytes = b"", timeout: float | None = None
    ) -> None:
        """Return when everything that was published before this call has arrived here.

        The broker keeps the order of one connection only, hence a message to oneself through
        each of *publishers*, and one through the shared connection for everybody else.

        Args:
            publishers: clients that may have published.
            before: packets that the shared connection sends before its barrier.
            timeout: seconds to wait; as long as for all answers where it is left out.

        Raises:
            MQTTConnectionError: a barrier did not come back.
        """
        senders = {self._send_barrier(client): client for client in publishers}
        senders[self._send_barrier(self._client, before)] = self._client
        self._await_barriers(senders, timeout=timeout)

    def barrier_through(self, clients: Iterable[Any]) -> None:
        """Return when the broker has done what *clients* have asked for before this call.

        One that is kept in a callback is not waited for: it sends nothing meanwhile.

        Raises:
            MQTTConnectionError: a barrier did not come back.
        """
        is_stuck = paho.stuck_in_callback()
        senders = {self._send_barrier(client): client for client in clients}
        self._await_barriers(senders, can_come=lambda c: paho.is_open(c) and not is_stuck(c))

    def _send_barrier(self, client: Any, before: bytes = b"") -> bytes:
        """Publish past the client's bookkeeping: its owner's on_publish must not see it."""
        token = self._own_tokens + next(self._tokens).to_bytes(8, "big")
        packet = publish_packet(BARRIER_TOPIC, token, mqtt_5=paho.speaks_mqtt_5(client))
        with contextlib.suppress(OSError):  # it is being ended, as the wait for it will show
            if is_served_by_event_loop(client):
                send_beside_event_loop(client, before + packet)
            else:
                paho.queue_packet(client, before + packet)
                write_if_no_loop_does(client)
        return token

    def _await_barriers(
        self,
        senders: dict[bytes, Any],
        can_come: Callable[[Any], bool] = paho.is_open,
        timeout: float | None = None,
    ) -> None:
        timeout, start = timeout or limits.TIMEOUT, time.monotonic()
        deadline = start + timeout
        grants, position = self._grants, self._history.position
        while not self._came_back(set(senders)):
            if self._history.position != position:  # a flood is before it, which takes its time
                position = self._history.position
                deadline = min(time.monotonic() + timeout, start + limits.FLOOD_TIMEOUT)
            # What a broken connection has not brought to the broker will not come.
            senders = {t: c for t, c in senders.items() if c is self._client or can_come(c)}
            if self._grants != grants:  # our connection was made anew: send it again
                grants = self._grants
                senders = {t: c for t, c in senders.items() if c is not self._client}
                senders[self._send_barrier(self._client)] = self._client
            if time.monotonic() > deadline or self._broker_died():
                missing = [client for t, client in senders.items() if t not in self._barriers]
                raise self._failure(self._why_no_barrier(missing, time.monotonic() - start))

    def _why_no_barrier(self, senders: Iterable[Any], seconds: float) -> str:
        reason = f"a barrier did not come back within {seconds:.0f} s"
        others = [client for client in senders if client is not self._client]
        kept = [paho.name_of(client) for client in others if paho.is_in_callback(client)]
        if kept:
            return f"{reason}: client {', '.join(kept)} is kept in a callback, and so sends nothing"
        kept = [paho.name_of(client) for client in others if is_served_by_event_loop(client)]
        if kept:
            return f"{reason}: the event loop of client {', '.join(kept)} stands still"
        if self._endpoint.topic_prefix:  # a broker of others, with access control perhaps
            topics = f"'#' and '{BARRIER_TOPIC}#'"
            reason += f" (this user has to be allowed to publish to and read from {topics})"
        return reason

    def _came_back(self, tokens: set[bytes]) -> bool:
        with self._changed:
            complete = self._changed.wait_for(
                lambda: tokens <= self._barriers, limits.LOOK_INTERVAL
            )
            if complete:
                self._barriers -= tokens
            return complete

    def _await_subscription(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._grants or self._refusal, limits.TIMEOUT)
            if not self._grants:
                reason = self._refusal or f"no subscription was granted within {limits.TIMEOUT:g} s"
                raise MQTTConnectionError(self._endpoint, reason)

    def know_retained(self) -> dict[str, MQTTMessage]:
        """Return what the broker retains, by topic, as far as it has been published here."""
        return self._retained.snapshot()

    def restore_retained(
        self,
        wanted: Mapping[str, MQTTMessage],
        *,
        only: Container[str] | None = None,
        publishers: Sequence[Any] = (),
    ) -> None:
        """Make the broker retain what *wanted* says, and nothing else; of some topics *only*.

        That undoes what *publishers* and others have published before this call. As a rule it has
        arrived, and one round trip both undoes it and proves that nothing is left.

        Raises:
            MQTTConnectionError: the broker does not confirm it.
        """
        for _ in range(UNDO_ROUNDS):
            self.barrier(publishers, before=self._undo(wanted, only))
            if not any(self._retained.differences(wanted, only)):
                return

    def _undo(self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None) -> bytes:
        """Send what was overwritten; return what clears the rest, all in one piece.

        Our own messages do not come back to us: they are noted as if they had taken effect.
        Whatever arrives after that, the next look at the differences finds.
        """
        overwritten, surplus = self._retained.differences(wanted, only)
        for topic in surplus:
            self._retained.note(MQTTMessage(topic, b"", 0, retain=True))
        for message in overwritten:
            self._retained.note(message)
            self._publish_again(message)
        return b"".join(publish_packet(topic, retain=True, mqtt_5=True) for topic in surplus)

    def _publish_again(self, message: MQTTMessage) -> None:
        info = self._client.publish(
            message.topic, message.payload, message.qos, retain=True, properties=message.properties
        )
        try:
            info.wait_for_publish(limits.TIMEOUT)  # a QoS 2 message counts from its PUBREL on
            is_confirmed = info.is_published()
        except (RuntimeError, ValueError):  # the connection was lost
            is_confirmed = False
        if not is_confirmed:
            reason = f"what was retained on {message.topic!r} could not be restored"
            raise MQTTConnectionError(self._endpoint, reason)
