"""The shared connection."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Callable

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..broker.connections import OBSERVER_ID_PREFIX
from ..originals import monotonic
from ..wire.endpoint import MQTTEndpoint
from ..wire.publish import MQTTMessage, publish_packet
from . import limits
from .admission import admit, constructor_options
from .ending import end_client
from .errors import DeadBrokerError, MQTTConnectionError
from .messages import History
from .network_loop import write_if_nobody_else_does
from .observing_client import RETRY_DELAY, ObservingClient
from .paho_internals import (
    is_in_callback,
    is_open,
    name_of,
    new_client,
    peer_of,
    speaks_mqtt_5,
    stuck_in_callback,
    text_of,
    value_of,
)

UNDO_ROUNDS = 5
"""Attempts to clear what others go on retaining while we do; one is enough as a rule."""

BARRIER_TOPIC = "$barrier/"
"""Hidden from subscriptions to ``#``, as all topics that begin with a dollar are."""

VISIBLE_BARRIER_TOPIC = f"mqtt-test-barrier/{uuid.uuid4().hex}/"
"""For brokers that may not allow such topics."""

LEAST_REFUSAL = 0x80

UNSUPPORTED_PROTOCOL = 0x84


class UnsupportedProtocolError(Exception):
    """The broker does not speak MQTT 5."""


class Observer:
    """The shared connection: sees everything, knows what is retained, provides barriers.

    On a broker that speaks MQTT 3.1.1 alone it learns what is retained by subscribing anew,
    cannot tell whether a message that it sees was published as retained, and its barriers are
    not hidden, since ``$`` topics may be forbidden there.
    """

    def __init__(
        self,
        endpoint: MQTTEndpoint,
        protocol: Any,
        history: History,
        broker_died: Callable[[], bool],
    ) -> None:
        self._endpoint = endpoint
        self._history = history
        self._broker_died = broker_died
        self._speaks_mqtt_5 = protocol == mqtt.MQTTv5
        self._barrier_topic = BARRIER_TOPIC if self._speaks_mqtt_5 else VISIBLE_BARRIER_TOPIC
        self._refusal: str | None = None
        self._is_unsupported = False
        self._changed = threading.Condition()
        self._barriers: set[bytes] = set()
        self._own_tokens = os.urandom(8)  # other pools on this broker send barriers as well
        self._tokens = itertools.count()
        self._subscribed = False
        self._grants = 0  # of our subscription, by the broker
        self.retained: dict[str, MQTTMessage] = {}
        self._client = new_client(
            ObservingClient,
            client_id=OBSERVER_ID_PREFIX + os.urandom(8).hex(),
            protocol=protocol,
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
            UnsupportedProtocolError: it does not speak the protocol.
        """
        try:
            self._client.connect(**self._endpoint.get_connection_params())
            self._client.loop_start()
            self._await_subscription()
            self.barrier()
        except (OSError, MQTTConnectionError, UnsupportedProtocolError) as error:
            self.close()
            if isinstance(error, OSError):
                raise self._failure(error) from None
            raise

    def _failure(self, reason: object) -> MQTTConnectionError:
        if self._broker_died():
            return DeadBrokerError(self._endpoint, "the broker has ended")
        return MQTTConnectionError(self._endpoint, reason)

    @property
    def network_loop(self) -> threading.Thread | None:
        """The thread that serves the connection."""
        return self._client._thread

    def shares_broker_with(self, client: Any) -> bool:
        """Say whether a client is connected to the same address."""
        return bool(peer_of(client) == peer_of(self._client))

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(TimeoutError):  # a broker that hangs is no news at the end
            end_client(self._client)

    def is_connected(self) -> bool:
        """Say whether the broker has granted our subscription on a connection that is open."""
        return self._subscribed and is_open(self._client)

    def await_connection(self) -> None:
        """Return when there is a connection: one that broke, its network loop makes anew.

        Raises:
            MQTTConnectionError: nobody is there, or lets us in.
        """
        deadline = monotonic() + limits.TIMEOUT
        while not self.is_connected():
            try:
                socket.create_connection(
                    (self._endpoint.host, self._endpoint.port), limits.TIMEOUT
                ).close()
            except OSError as error:
                raise self._failure(error) from None
            if monotonic() > deadline:
                raise self._failure(self._refusal or f"no subscription within {limits.TIMEOUT:g} s")
            with self._changed:
                self._changed.wait(RETRY_DELAY)

    def _on_connect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, *_args: Any
    ) -> None:
        if reason == 0:
            self._subscribe()
        else:
            self._refuse(text_of(reason), unsupported=value_of(reason) == UNSUPPORTED_PROTOCOL)

    def _subscribe(self) -> None:
        with self._changed:
            self._refusal = None
            self.retained.clear()  # what is still retained comes with the subscription
        if not self._speaks_mqtt_5:
            self._client.subscribe("#", 2)
            return
        # Without our own messages: what we clear a test's retained messages with.
        everything = SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True)
        barriers = SubscribeOptions(qos=2)
        self._client.subscribe([("#", everything), (BARRIER_TOPIC + "#", barriers)])

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, *_args: Any
    ) -> None:
        if any(value_of(reason) >= LEAST_REFUSAL for reason in reasons):
            self._refuse("it does not let this user subscribe to #, by which tests are watched")
            return
        with self._changed:
            self._subscribed = True
            self._grants += 1
            self._changed.notify_all()

    def _refuse(self, reason: str, *, unsupported: bool = False) -> None:
        with self._changed:
            self._refusal = reason
            self._is_unsupported = unsupported
            self._changed.notify_all()

    def _on_disconnect(self, *_args: Any) -> None:
        with self._changed:
            self._subscribed = False
            self._changed.notify_all()

    def _on_message(self, message: MQTTMessage) -> None:
        with self._changed:
            if not message.topic.startswith(self._barrier_topic):
                self._note(message)
            elif message.payload.startswith(self._own_tokens):
                self._barriers.add(message.payload)
                self._changed.notify_all()

    def _note(self, message: MQTTMessage) -> None:
        if self._speaks_mqtt_5 or not message.retain:  # else it was published before
            self._history.append(message)
        if message.retain and message.payload:
            self.retained[message.topic] = message
        elif message.retain:
            self.retained.pop(message.topic, None)

    def barrier(self, publishers: Sequence[Any] = (), *, before: bytes = b"") -> None:
        """Return when everything that was published before this call has arrived here.

        The broker keeps the order of one connection only, hence a message to oneself through
        each of *publishers*, and one through the shared connection for everybody else.

        Args:
            publishers: clients that may have published.
            before: packets that the shared connection sends before its barrier.

        Raises:
            MQTTConnectionError: a barrier did not come back.
        """
        senders = {self._send_barrier(client): client for client in publishers}
        senders[self._send_barrier(self._client, before)] = self._client
        self._await_barriers(senders)

    def barrier_through(self, clients: Iterable[Any]) -> None:
        """Return when the broker has done what *clients* have asked for before this call.

        One that is kept in a callback is not waited for: it sends nothing meanwhile.

        Raises:
            MQTTConnectionError: a barrier did not come back.
        """
        is_stuck = stuck_in_callback()
        senders = {self._send_barrier(client): client for client in clients}
        self._await_barriers(senders, can_come=lambda c: is_open(c) and not is_stuck(c))

    def _send_barrier(self, client: Any, before: bytes = b"") -> bytes:
        """Publish past the client's bookkeeping: its owner's on_publish must not see it."""
        token = self._own_tokens + next(self._tokens).to_bytes(8, "big")
        packet = publish_packet(self._barrier_topic, token, mqtt_5=speaks_mqtt_5(client))
        with contextlib.suppress(OSError):  # it is being ended, as those who wait will see
            with contextlib.suppress(RuntimeError):  # the event loop that it is in is closed
                client._packet_queue(mqtt.PINGREQ, before + packet, 0, 0)
            write_if_nobody_else_does(client)
        return token

    def _await_barriers(
        self, senders: dict[bytes, Any], can_come: Callable[[Any], bool] | None = None
    ) -> None:
        can_come = can_come or is_open
        deadline = monotonic() + limits.TIMEOUT
        grants, position = self._grants, self._history.position
        while not self._came_back(set(senders)):
            if self._history.position != position:  # a flood is before it, which takes its time
                position = self._history.position
                deadline = monotonic() + limits.TIMEOUT
            # What a broken connection has not brought to the broker will not come.
            senders = {t: c for t, c in senders.items() if c is self._client or can_come(c)}
            if self._grants != grants:  # our connection was made anew: send it again
                grants = self._grants
                senders = {t: c for t, c in senders.items() if c is not self._client}
                senders[self._send_barrier(self._client)] = self._client
            if monotonic() > deadline or self._broker_died():
                missing = [client for t, client in senders.items() if t not in self._barriers]
                raise self._failure(self._why_no_barrier(missing))

    def _why_no_barrier(self, senders: Iterable[Any]) -> str:
        reason = f"a barrier did not come back within {limits.TIMEOUT:g} s"
        kept = [name_of(c) for c in senders if c is not self._client and is_in_callback(c)]
        if kept:
            return f"{reason}: client {', '.join(kept)} is kept in a callback, and so sends nothing"
        if self._endpoint.topic_prefix:  # a broker of others, who may control access to it
            topics = f"'#' and '{self._barrier_topic}#'"
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

    def _await_subscription(self, grants_before: int = 0) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._grants > grants_before or self._refusal, limits.TIMEOUT
            )
            if self._is_unsupported:
                raise UnsupportedProtocolError
            if self._grants == grants_before:
                reason = self._refusal or f"no subscription was granted within {limits.TIMEOUT:g} s"
                raise MQTTConnectionError(self._endpoint, reason)

    def know_retained(self) -> dict[str, MQTTMessage]:
        """Return what the broker retains, by topic, as far as it has been published here.

        Raises:
            MQTTConnectionError: the broker does not answer.
        """
        if not self._speaks_mqtt_5:
            grants_before = self._grants
            self._subscribe()
            self._await_subscription(grants_before)
            self.barrier()
        with self._changed:
            return dict(self.retained)

    def restore_retained(
        self,
        wanted: Mapping[str, MQTTMessage],
        *,
        only: Container[str] | None = None,
        publishers: Sequence[Any] = (),
    ) -> None:
        """Have the broker retain what *wanted* says, and nothing else; of some topics *only*.

        That undoes what *publishers* and others have published before this call. As a rule it has
        arrived, and one round trip both undoes it and proves that nothing is left.

        Raises:
            MQTTConnectionError: the broker does not confirm it.
        """
        if not self._speaks_mqtt_5:
            self.know_retained()
        for _ in range(UNDO_ROUNDS):
            self.barrier(publishers, before=self._undo(wanted, only))
            if not any(self._differences(wanted, only)):
                return

    def _undo(self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None) -> bytes:
        """Send what was overwritten; return what clears the rest, all in one piece.

        Our own messages do not come back to us: they are noted as if they had taken effect.
        Whatever arrives after that, the next look at the differences finds.
        """
        with self._changed:
            overwritten, surplus = self._differences(wanted, only)
            self.retained.update((message.topic, message) for message in overwritten)
            for topic in surplus:
                del self.retained[topic]
        for message in overwritten:
            self._publish_again(message)
        return b"".join(
            publish_packet(topic, retain=True, mqtt_5=self._speaks_mqtt_5) for topic in surplus
        )

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

    def _differences(
        self, wanted: Mapping[str, MQTTMessage], only: Container[str] | None
    ) -> tuple[list[MQTTMessage], list[str]]:
        """Return the wanted messages that the broker has not, and those that it has too many of."""
        with self._changed:
            overwritten = [m for topic, m in wanted.items() if self.retained.get(topic) != m]
            surplus = [topic for topic in self.retained if topic not in wanted]
        if only is None:
            return overwritten, surplus
        return (
            [message for message in overwritten if message.topic in only],
            [topic for topic in surplus if topic in only],
        )
