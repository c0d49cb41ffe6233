"""Clients whose connections and losses can be waited for, one by one."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
from collections.abc import Iterator
from textwrap import dedent
from typing import IO, Any

import paho.mqtt.client as mqtt
import pytest

from helpers.clients import TIMEOUT, paho_client
from helpers.drop_in import TESTS


class Watched:
    """A client that connects again by itself, and tells each connection and loss."""

    def __init__(
        self,
        broker: Any,
        *,
        again_after: Any = 0.01,  # paho takes a float, though its annotation says int
        connect: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        security = broker.get_security_params()
        if "transport" in security:
            options["transport"] = security["transport"]
        self.client = paho_client(**options)
        if "ssl_context" in security:
            self.client.tls_set_context(security["ssl_context"])
        self.client.reconnect_delay_set(min_delay=again_after, max_delay=again_after)
        self._events: queue.Queue[str] = queue.Queue()
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.client.on_connect = lambda *_args: self._events.put("connected")
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda _client, _userdata, message: self.messages.put(message)
        self._address = (broker.host, broker.port)
        self._connect_options = connect or {}

    def _on_disconnect(self, *args: Any) -> None:
        reason = args[3] if len(args) == 5 else args[2]
        ended_well = reason in (0, "Normal disconnection")
        self._events.put("disconnected" if ended_well else "lost")

    def __enter__(self) -> Watched:
        self.client.connect(*self._address, **self._connect_options)
        self.client.loop_start()
        assert self.next_event() == "connected"
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def next_event(self) -> str:
        """Wait for the next connection or loss."""
        try:
            return self._events.get(timeout=TIMEOUT)
        except queue.Empty:
            pytest.fail(f"nothing happened to the connection for {TIMEOUT:g} s")

    def has_been_left_alone(self) -> bool:
        """Say whether nothing has happened; proved by an answer that came later."""
        info = self.client.publish("still/there", qos=1)
        info.wait_for_publish(TIMEOUT)
        return info.is_published() and self._events.empty()


@contextlib.contextmanager
def client_in_another_process(broker: Any) -> Iterator[IO[str]]:
    """Connect one as "elsewhere", and give what it tells, a line for each event."""
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from helpers.watched_clients import Watched

        class Address:
            host, port = sys.argv[2], int(sys.argv[3])
            get_security_params = dict

        with Watched(Address(), client_id="elsewhere") as one:
            print("ready", flush=True)
            while True:
                print(one.next_event(), flush=True)
    """
    command = [sys.executable, "-c", dedent(code), str(TESTS), broker.host, str(broker.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            yield process.stdout
        finally:
            process.kill()
