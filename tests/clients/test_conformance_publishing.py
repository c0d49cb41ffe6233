"""A client on loan behaves as a plain paho client does: publishing."""

from __future__ import annotations

from helpers.conformance.behaviours import (
    Behaviour,
    Behaviours,
    Case,
    assert_same,
    every_comparison,
)
from helpers.conformance.recording import (
    MQTT_5,
    TIMEOUT,
    Broker,
    Dialect,
    MakeClient,
    Recorder,
    Source,
    bring_online,
)
from helpers.conformance.steps import (
    fence,
    properties_of,
    subscribe,
)
from paho.mqtt.packettypes import PacketTypes

behaviour = Behaviours()
PAYLOADS = [None, "", b"", "text \N{SNOWMAN}", b"\x00\xff", bytearray(b"array"), 17, -2.5]
LARGE = b"large" * 60_000


def publish_each(qos: int) -> Behaviour:
    def publish(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
        client = recorder.watch(make_client(client_id="one"))
        subscriber = recorder.watch(make_client(client_id="two"))
        subscribe(recorder, subscriber, "payloads/#")
        for number, payload in enumerate([*PAYLOADS, LARGE]):
            info = client.publish(f"payloads/{number}", payload, qos)
            recorder.note(client, "info", info)
            info.wait_for_publish(TIMEOUT)
            recorder.note(client, "is_published", info.is_published(), list(info))
            recorder.wait_for(subscriber, "on_message", number + 1)
        recorder.wait_for(client, "on_publish", len(PAYLOADS) + 1)

    publish.__name__ = f"publish_every_payload_at_qos_{qos}"
    return publish


for _qos in (0, 1, 2):
    behaviour(connected=True)(publish_each(_qos))


@behaviour(connected=True)
def publish_to_oneself(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "topic/#")
    for qos in (0, 1, 2):
        client.publish(f"topic/{qos}", "payload", qos).wait_for_publish(TIMEOUT)
        recorder.wait_for(client, "on_message", qos + 1)
        recorder.wait_for(client, "on_publish", qos + 1)


@behaviour()
def publish_what_is_refused(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    for args in [("a/+",), ("a/#",), ("a", {}), ("a", "", 3), ("a", "", -1)]:
        recorder.attempt(client, "publish", *args)
    recorder.attempt(client, "publish", "a", b"x" * 268435456)
    for filters in ["", None, [], ("a", 3), [("a", 3)], 7]:
        recorder.attempt(client, "subscribe", filters)
    for filters in ["", None, 7]:
        recorder.attempt(client, "unsubscribe", filters)
    recorder.attempt(client, "message_callback_add", "a", None)
    recorder.attempt(client, "message_callback_remove", "a")


@behaviour()
def publish_before_connecting(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscriber = recorder.watch(make_client(client_id="two"))
    bring_online(subscriber, broker.address)
    subscribe(recorder, subscriber, "queued/#")
    infos = [client.publish(f"queued/{qos}", "early", qos) for qos in (0, 1, 2)]
    for info in infos:
        recorder.note(client, "info", info)
        try:
            recorder.note(client, "is_published", info.is_published())
        except RuntimeError as error:
            recorder.note(client, "is_published", str(error))
    bring_online(client, broker.address)
    recorder.wait_for(client, "on_publish", 2)
    fence(subscriber, client)


@behaviour()
def publish_more_than_may_be_in_flight(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.max_inflight_messages_set(2)
    subscriber = recorder.watch(make_client(client_id="two"))
    bring_online(client, broker.address)
    bring_online(subscriber, broker.address)
    subscribe(recorder, subscriber, "many")
    infos = [client.publish("many", number, qos=1) for number in range(20)]
    for info in infos:
        info.wait_for_publish(TIMEOUT)
    recorder.wait_for(client, "on_publish", 20)
    recorder.wait_for(subscriber, "on_message", 20)


@behaviour()
def queue_no_more_than_allowed(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.max_queued_messages_set(2)
    for number in range(4):
        info = client.publish("queue", number, qos=1)
        recorder.note(client, "rc", info.rc)
    bring_online(client, broker.address)
    recorder.wait_for(client, "on_publish", 2)


@behaviour(connected=True, protocols=MQTT_5)
def publish_with_properties(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "properties/#")
    properties = properties_of(
        PacketTypes.PUBLISH,
        UserProperty=[("key", "one"), ("key", "two")],
        ContentType="text/plain",
        ResponseTopic="properties/answer",
        CorrelationData=b"\x01\x02",
        MessageExpiryInterval=600,
        PayloadFormatIndicator=1,
    )
    for qos in (0, 1, 2):
        client.publish(f"properties/{qos}", "payload", qos, properties=properties)
        recorder.wait_for(client, "on_message", qos + 1)
        recorder.wait_for(client, "on_publish", qos + 1)


@behaviour(connected=True, protocols=MQTT_5)
def publish_by_an_alias_of_the_topic(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "a/long/topic")
    alias = properties_of(PacketTypes.PUBLISH, TopicAlias=1)
    client.publish("a/long/topic", "first", properties=alias)
    recorder.wait_for(client, "on_message")
    client.publish("", "second", properties=alias)
    recorder.wait_for(client, "on_message", 2)


@every_comparison(behaviour)
def test_a_loan_behaves_as_a_plain_client(case: Case, dialect: Dialect, source: Source) -> None:
    assert_same(case, dialect, source)
