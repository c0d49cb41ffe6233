"""A client on loan behaves as a plain paho client does: connecting and disconnecting."""

from __future__ import annotations

import threading
from typing import Any

from helpers.conformance.behaviours import Behaviours, Case, assert_same, every_comparison
from helpers.conformance.recording import (
    MQTT_3,
    MQTT_5,
    TIMEOUT,
    Broker,
    Dialect,
    MakeClient,
    Recorder,
    Source,
    bring_online,
    start_loop_again,
)
from helpers.conformance.steps import (
    break_connection,
    drive_until,
    fence,
    properties_of,
    subscribe,
)
from paho.mqtt.packettypes import PacketTypes

behaviour = Behaviours()


@behaviour()
def connect_and_disconnect(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.note(client, "is_connected", client.is_connected())
    recorder.attempt(client, "connect", *broker.address)
    recorder.attempt(client, "loop_start")
    recorder.wait_for(client, "on_connect")
    recorder.note(client, "is_connected", client.is_connected())
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    recorder.note(client, "is_connected", client.is_connected())
    recorder.attempt(client, "disconnect")
    recorder.attempt(client, "publish", "topic", "too late")
    recorder.attempt(client, "subscribe", "topic")
    recorder.attempt(client, "unsubscribe", "topic")


@behaviour()
def connect_with_keywords(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    host, port = broker.address
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_log")
    client.connect(port=port, host=host, keepalive=17, bind_address="127.0.0.1", bind_port=0)
    drive_until(recorder, client, "on_connect")


@behaviour()
def connect_asynchronously(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.attempt(client, "connect_async", *broker.address, keepalive=5)
    recorder.attempt(client, "loop_start")
    recorder.wait_for(client, "on_connect")


@behaviour()
def connect_with_an_assigned_id(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client())
    bring_online(client, broker.address)
    subscribe(recorder, client)
    fence(client, qos=0)


@behaviour()
def reconnect_by_hand(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    recorder.attempt(client, "reconnect")
    bring_online(client, broker.address)
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    recorder.attempt(client, "reconnect")
    start_loop_again(client)
    recorder.wait_for(client, "on_connect", 2)


@behaviour()
def connect_twice(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_message")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect", 2)
    client.subscribe("topic")
    client.publish("topic", "still here")
    drive_until(recorder, client, "on_message")


@behaviour(connected=True)
def reconnect_after_a_broken_connection(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_disconnect")
    client.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    break_connection(client)
    recorder.wait_for(client, "on_connect")
    recorder.watch(client)
    subscribe(recorder, client, "topic")
    client.publish("topic", "back again", qos=1)
    recorder.wait_for(client, "on_message")
    recorder.wait_for(client, "on_publish")


@behaviour(connected=True)
def reconnect_after_a_restart_of_the_broker(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_disconnect")
    client.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    broker.process.restart()
    recorder.wait_for(client, "on_connect")


@behaviour()
def find_no_broker(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    first_failure = threading.Event()
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_disconnect")
    broker.process.stop()
    recorder.attempt(client, "connect", *broker.address)

    def on_connect_fail(client: Any, *args: Any) -> None:
        if not first_failure.is_set():
            recorder.note(client, "on_connect_fail", *args)
        first_failure.set()

    client.on_connect_fail = on_connect_fail
    client.reconnect_delay_set(min_delay=0.01, max_delay=0.05)
    client.connect_async(*broker.address)
    client.loop_start()
    assert first_failure.wait(TIMEOUT)
    broker.process.start()
    recorder.wait_for(client, "on_connect")


@behaviour()
def do_not_reconnect_on_failure(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one", reconnect_on_failure=False))
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    break_connection(client)
    recorder.attempt(client, "loop_forever")
    recorder.note(client, "is_connected", client.is_connected())


@behaviour()
def refuse_an_invalid_address(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one")
    recorder.attempt(client, "connect", "", 1883)
    recorder.attempt(client, "connect", broker.address[0], 0)
    recorder.attempt(client, "connect_async", broker.address[0], -1)


@behaviour()
def refuse_invalid_options(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one")
    recorder.attempt(client, "connect", *broker.address, keepalive=-1)
    recorder.attempt(client, "will_set", "", "payload")
    recorder.attempt(client, "will_set", "topic", "payload", qos=3)
    recorder.attempt(client, "will_set", "topic", {"no": "payload"})
    recorder.attempt(client, "max_inflight_messages_set", -1)
    recorder.attempt(client, "loop_stop")


@behaviour(protocols=MQTT_3)
def refuse_what_is_of_mqtt_5(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one")
    recorder.attempt(client, "connect", *broker.address, clean_start=True)
    properties = properties_of(PacketTypes.CONNECT, SessionExpiryInterval=9)
    recorder.attempt(client, "connect", *broker.address, properties=properties)


@behaviour(protocols=MQTT_3)
def end_by_a_take_over(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    first = recorder.watch(make_client(client_id="same", reconnect_on_failure=False))
    second = recorder.watch(make_client(client_id="same"))
    bring_online(first, broker.address)
    bring_online(second, broker.address)
    recorder.wait_for(first, "on_disconnect")
    subscribe(recorder, second)
    fence(second, qos=0)


@behaviour(protocols=MQTT_5)
def end_by_a_take_over_with_its_reason(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    end_by_a_take_over(make_client, recorder, broker)


@behaviour(connected=True)
def take_over_a_loan_that_is_left_alone(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    first = recorder.watch(make_client(client_id="same", reconnect_on_failure=False))
    second = recorder.watch(make_client(client_id="same"))
    recorder.wait_for(first, "on_disconnect")
    subscribe(recorder, second)
    fence(second, qos=0)


@behaviour(connected=True, protocols=MQTT_5)
def disconnect_with_a_reason_and_properties(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    reasons = __import__("paho.mqtt.reasoncodes", fromlist=["ReasonCode"])
    reason_class = getattr(reasons, "ReasonCode", None) or reasons.ReasonCodes
    reason = reason_class(PacketTypes.DISCONNECT, "Disconnect with will message")
    properties = properties_of(PacketTypes.DISCONNECT, UserProperty=("why", "done"))
    client.disconnect(reasoncode=reason, properties=properties)
    recorder.wait_for(client, "on_disconnect")


@every_comparison(behaviour)
def test_a_loan_behaves_as_a_plain_client(case: Case, dialect: Dialect, source: Source) -> None:
    assert_same(case, dialect, source)
