"""A client on loan behaves as a plain paho client does: wills, sessions, credentials."""

from __future__ import annotations

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
    settle,
    subscribe,
)
from paho.mqtt.packettypes import PacketTypes

behaviour = Behaviours()


@behaviour()
def leave_a_will(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    watcher = recorder.watch(make_client(client_id="watcher"))
    bring_online(watcher, broker.address)
    subscribe(recorder, watcher, "will/#")
    for number, ending in enumerate(("disconnect", "break", "clear", "close")):
        client = recorder.watch(
            make_client(client_id=f"mortal {number}", reconnect_on_failure=False),
            "on_connect",
            "on_disconnect",
        )
        client.will_set(f"will/{ending}", f"died by {ending}", qos=1, retain=True)
        if ending == "clear":
            client.will_clear()
        client.connect(*broker.address)
        drive_until(recorder, client, "on_connect")
        if ending == "disconnect":
            client.disconnect()
        else:
            break_connection(client)
        drive_until(recorder, client, "on_disconnect")
    recorder.wait_for(watcher, "on_message", 2)
    fence(watcher)
    late = recorder.watch(make_client(client_id="late"))
    bring_online(late, broker.address)
    subscribe(recorder, late, "will/#")
    fence(late)


@behaviour()
def leave_a_will_by_closing_the_socket(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    watcher = recorder.watch(make_client(client_id="watcher"))
    bring_online(watcher, broker.address)
    subscribe(recorder, watcher, "will")
    client = recorder.watch(make_client(client_id="mortal"), "on_connect")
    client.will_set("will", "socket closed")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.socket().close()
    recorder.wait_for(watcher, "on_message")


@behaviour(protocols=MQTT_5)
def leave_a_will_with_properties(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    watcher = recorder.watch(make_client(client_id="watcher"))
    bring_online(watcher, broker.address)
    subscribe(recorder, watcher, "will")
    client = recorder.watch(make_client(client_id="mortal"), "on_connect")
    properties = properties_of(
        PacketTypes.WILLMESSAGE,
        ContentType="text/plain",
        UserProperty=("why", "unknown"),
        MessageExpiryInterval=600,
        WillDelayInterval=0,
    )
    client.will_set("will", "with properties", properties=properties)
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    break_connection(client)
    recorder.wait_for(watcher, "on_message")


@behaviour(protocols=MQTT_3)
def resume_a_session(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one", clean_session=False))
    publisher = recorder.watch(make_client(client_id="two"))
    bring_online(client, broker.address)
    bring_online(publisher, broker.address)
    subscribe(recorder, client, "queue/#")
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    settle(publisher)
    for qos in (0, 1, 2):
        publisher.publish(f"queue/{qos}", "while away", qos).wait_for_publish(TIMEOUT)
    client.reconnect()
    start_loop_again(client)
    recorder.wait_for(client, "on_connect", 2)
    recorder.wait_for(client, "on_message", 2)
    fence(client)
    successor = recorder.watch(make_client(client_id="one", clean_session=False))
    client.disconnect()
    recorder.wait_for(client, "on_disconnect", 2)
    client.loop_stop()
    settle(publisher)
    publisher.publish("queue/1", "for the successor", 1).wait_for_publish(TIMEOUT)
    bring_online(successor, broker.address)
    recorder.wait_for(successor, "on_message")


@behaviour(protocols=MQTT_5)
def resume_a_session_that_expires(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    publisher = recorder.watch(make_client(client_id="two"))
    bring_online(publisher, broker.address)
    lasting = properties_of(PacketTypes.CONNECT, SessionExpiryInterval=600)
    bring_online(client, broker.address, clean_start=False, properties=lasting)
    subscribe(recorder, client, "queue/#")
    client.disconnect()
    recorder.wait_for(client, "on_disconnect")
    client.loop_stop()
    settle(publisher)
    publisher.publish("queue/1", "while away", 1).wait_for_publish(TIMEOUT)
    bring_online(client, broker.address, clean_start=False, properties=lasting)
    recorder.wait_for(client, "on_message")
    client.disconnect(properties=properties_of(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
    recorder.wait_for(client, "on_disconnect", 2)
    client.loop_stop()
    bring_online(client, broker.address, clean_start=False, properties=lasting)
    client.disconnect()
    recorder.wait_for(client, "on_disconnect", 3)
    client.loop_stop()
    bring_online(client, broker.address, clean_start=True)


@behaviour(protocols=MQTT_5)
def connect_with_properties(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    properties = properties_of(
        PacketTypes.CONNECT,
        SessionExpiryInterval=60,
        ReceiveMaximum=3,
        MaximumPacketSize=1000,
        TopicAliasMaximum=5,
        UserProperty=("a", "b"),
    )
    bring_online(client, broker.address, properties=properties)
    subscribe(recorder, client, "size")
    client.publish("size", "x" * 2000)
    client.publish("size", "small enough")
    fence(client, qos=0)


@behaviour()
def send_credentials(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    for number, credentials in enumerate([("user", "password"), ("user", None), (None,)]):
        client = recorder.watch(make_client(client_id=f"{number}"), "on_connect", "on_log")
        client.username_pw_set(*credentials)
        client.connect(*broker.address)
        drive_until(recorder, client, "on_connect")


@every_comparison(behaviour)
def test_a_loan_behaves_as_a_plain_client(case: Case, dialect: Dialect, source: Source) -> None:
    assert_same(case, dialect, source)
