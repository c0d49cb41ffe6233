"""A client on loan behaves as a plain paho client does: subscribing."""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as mqtt
from helpers.conformance.behaviours import Behaviours, Case, assert_same, every_comparison
from helpers.conformance.recording import (
    MQTT_5,
    TIMEOUT,
    Broker,
    Dialect,
    MakeClient,
    Recorder,
    Source,
)
from helpers.conformance.steps import (
    fence,
    properties_of,
    subscribe,
)
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

behaviour = Behaviours()


@behaviour(connected=True)
def subscribe_in_every_form(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    forms: list[tuple[Any, ...]] = [("a",), ("b", 1), (("c", 2),), ([("d", 0), ("e/#", 1)],)]
    if client._protocol == mqtt.MQTTv5:
        forms[2:] = [(("c", SubscribeOptions(2)),), ([(t, SubscribeOptions(1)) for t in "de"],)]
    for count, form in enumerate(forms, 1):
        recorder.attempt(client, "subscribe", *form)
        recorder.wait_for(client, "on_subscribe", count)
    for count, topic in enumerate("abcde", 1):
        client.publish(topic, "payload", qos=2).wait_for_publish(TIMEOUT)
        recorder.wait_for(client, "on_message", count)
        recorder.wait_for(client, "on_publish", count)
    recorder.attempt(client, "unsubscribe", "a")
    recorder.wait_for(client, "on_unsubscribe", 1)
    recorder.attempt(client, "unsubscribe", ["b", "c", "never subscribed"])
    recorder.wait_for(client, "on_unsubscribe", 2)
    subscribe(recorder, client)
    for topic in "abcde":
        client.publish(topic, "again", qos=0)
    fence(client, qos=0)


@behaviour(connected=True, protocols=MQTT_5)
def subscribe_with_options(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    other = recorder.watch(make_client(client_id="two"))
    other.publish("retained", "kept", qos=1, retain=True).wait_for_publish(TIMEOUT)
    subscribe(recorder, client)
    options = [
        ("local", SubscribeOptions(qos=2, noLocal=True)),
        ("published", SubscribeOptions(qos=1, retainAsPublished=True)),
        ("plain", SubscribeOptions(qos=1)),
    ]
    client.subscribe(options)
    recorder.wait_for(client, "on_subscribe", 2)
    for publisher in (client, other):
        for topic in ("local", "published", "plain"):
            publisher.publish(topic, "", qos=1, retain=True).wait_for_publish(TIMEOUT)
        fence(client, publisher)
    for handling in (
        SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE,
        SubscribeOptions.RETAIN_SEND_IF_NEW_SUB,
        SubscribeOptions.RETAIN_DO_NOT_SEND,
    ):
        for _ in range(2):
            client.subscribe("retained", options=SubscribeOptions(qos=1, retainHandling=handling))
            fence(client, qos=1)
        client.unsubscribe("retained")
        fence(client, qos=1)


@behaviour(connected=True, protocols=MQTT_5)
def subscribe_with_an_identifier(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    for number, topic in enumerate(["id/#", "id/+"], 1):
        properties = properties_of(
            PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number, UserProperty=("a", "b")
        )
        client.subscribe(topic, properties=properties)
        recorder.wait_for(client, "on_subscribe", number)
    subscribe(recorder, client)
    client.publish("id/x", "payload")
    fence(client, qos=0)
    properties = properties_of(PacketTypes.UNSUBSCRIBE, UserProperty=("a", "b"))
    recorder.attempt(client, "unsubscribe", "id/#", properties=properties)
    recorder.wait_for(client, "on_unsubscribe")


@behaviour(connected=True)
def filter_messages(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    for topic in ("f/#", "f/+/x", "f/a/x", "other"):
        client.message_callback_add(topic, recorder.callback(f"filter {topic}"))
    client.message_callback_add("other", recorder.callback("filter other, replaced"))
    subscribe(recorder, client, "#")
    for _ in range(2):
        for topic in ("f", "f/a", "f/a/x", "f/b/x", "other", "unfiltered"):
            client.publish(topic, "payload")
        fence(client, qos=0)
        client.message_callback_remove("f/#")
        client.message_callback_remove("other")
        client.message_callback_remove("was never added")
        recorder.note(client, "filters removed")


@behaviour(connected=True)
def receive_what_is_retained(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    publisher = recorder.watch(make_client(client_id="one"))
    subscriber = recorder.watch(make_client(client_id="two"))
    for number, qos in enumerate((0, 1, 2, 1), 1):
        payload = "" if number == 4 else f"QoS {qos}"
        publisher.publish(f"r/{qos}", payload, qos, retain=True).wait_for_publish(TIMEOUT)
        recorder.wait_for(publisher, "on_publish", number)
    publisher.publish("r/0", "overwritten", 1, retain=True).wait_for_publish(TIMEOUT)
    recorder.wait_for(publisher, "on_publish", 5)
    subscribe(recorder, subscriber, "r/#")
    fence(subscriber)
    publisher.publish("r/0", "live", 0, retain=True)
    recorder.wait_for(publisher, "on_publish", 6)
    recorder.wait_for(subscriber, "on_message", 3)
    subscriber.subscribe("r/+", 0)
    recorder.wait_for(subscriber, "on_subscribe", 2)
    recorder.wait_for(subscriber, "on_message", 5)


@behaviour(connected=True)
def subscribe_with_overlaps(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "o/#", "o/+", "o/a", qos=1)
    client.publish("o/a", "how many?", qos=1)
    fence(client, qos=1)
    client.unsubscribe("o/+")
    recorder.wait_for(client, "on_unsubscribe")
    client.publish("o/a", "and now?", qos=1)
    fence(client, qos=1)


@behaviour(connected=True)
def keep_dollar_topics_apart(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "#", "+/x")
    client.publish("$own/x", "hidden")
    fence(client, qos=0)
    subscribe(recorder, client, "$own/#")
    client.publish("$own/x", "asked for")
    fence(client, qos=0)
    client.subscribe("$SYS/broker/version")
    recorder.wait_for(client, "on_message", 2)


@behaviour(connected=True)
def share_a_subscription(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    workers = [recorder.watch(make_client(client_id=f"worker {n}")) for n in range(2)]
    boss = recorder.watch(make_client(client_id="boss"))
    for worker in workers:
        subscribe(recorder, worker, "$share/group/work")
    for number in range(4):
        boss.publish("work", number)
    for worker in workers:
        fence(worker, boss, qos=0)


@every_comparison(behaviour)
def test_a_loan_behaves_as_a_plain_client(case: Case, dialect: Dialect, source: Source) -> None:
    assert_same(case, dialect, source)
