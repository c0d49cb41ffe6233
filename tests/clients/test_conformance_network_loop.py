"""A client on loan behaves as a plain paho client does: the network loop."""

from __future__ import annotations

import select
import threading
import time

import paho.mqtt.client as mqtt
from helpers.conformance.behaviours import Behaviours, Case, assert_same, every_comparison
from helpers.conformance.recording import (
    APIS,
    MQTT_3,
    SAME_FOR_EVERY_CONNECTION,
    TIMEOUT,
    Broker,
    Dialect,
    MakeClient,
    Recorder,
    Source,
)
from helpers.conformance.steps import (
    drive,
    drive_until,
)

behaviour = Behaviours()


@behaviour()
def loop_by_hand(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.subscribe("topic", 1)
    drive_until(recorder, client, "on_subscribe")
    client.publish("topic", "by hand", qos=1)
    drive_until(recorder, client, "on_message")
    drive_until(recorder, client, "on_publish")
    client.disconnect()
    recorder.attempt(client, "loop", 0.01)


@behaviour()
def loop_with_a_selector(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    callbacks = [*SAME_FOR_EVERY_CONNECTION, "on_socket_open", "on_socket_close"]
    callbacks += ["on_socket_register_write", "on_socket_unregister_write"]
    client = recorder.watch(make_client(client_id="one"), *callbacks)

    def loop_until(name: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not recorder.count(client, name):
            assert time.monotonic() < deadline
            while client.want_write():
                client.loop_write()
            if select.select([client.socket()], [], [], 0.02)[0]:
                client.loop_read()
            assert client.loop_misc() == mqtt.MQTT_ERR_SUCCESS

    client.connect(*broker.address)
    loop_until("on_connect")
    client.subscribe("topic", 2)
    loop_until("on_subscribe")
    client.publish("topic", "by a selector", qos=2)
    loop_until("on_message")
    loop_until("on_publish")
    client.disconnect()
    while client.want_write():
        client.loop_write()


@behaviour(
    protocols=MQTT_3,
    apis=APIS[-1:],
)
def leave_a_selector_with_the_connection_open(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_socket_register_write")
    client.connect(*broker.address)
    client.loop_write()
    drive_until(recorder, client, "on_connect")


@behaviour()
def loop_forever(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.on_connect = recorder.callback("on_connect", lambda c, *_: c.subscribe("topic"))
    client.on_subscribe = recorder.callback("on_subscribe", lambda c, *_: c.publish("topic", 1))
    client.on_message = recorder.callback("on_message", lambda c, *_: c.disconnect())
    client.connect(*broker.address)
    thread = threading.Thread(target=recorder.attempt, args=(client, "loop_forever"))
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


@behaviour(connected=True)
def start_the_loop_twice(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.attempt(client, "loop_start")
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    recorder.attempt(client, "loop_stop")


@behaviour(connected=True, apis=APIS[-1:])
def stop_the_loop_before_disconnecting(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.loop_stop()
    recorder.attempt(client, "disconnect")
    recorder.wait_for(client, "on_disconnect")


@behaviour()
def report_the_socket(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(
        make_client(client_id="one"),
        "on_socket_open",
        "on_socket_close",
        "on_socket_register_write",
        "on_socket_unregister_write",
        "on_connect",
    )
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    recorder.note(client, "socket", client.socket())
    recorder.note(client, "want_write", client.want_write())
    client.publish("topic", "payload")
    recorder.note(client, "want_write", client.want_write())
    drive(client, lambda: not client.want_write())
    client.disconnect()
    drive(client, lambda: client.socket() is None)


@every_comparison(behaviour)
def test_a_loan_behaves_as_a_plain_client(case: Case, dialect: Dialect, source: Source) -> None:
    assert_same(case, dialect, source)
