"""A client on loan behaves as a plain paho client does: callbacks."""

from __future__ import annotations

import logging
import threading
from typing import Any
from unittest import mock

from helpers.conformance.behaviours import Behaviours, Case, assert_same, every_comparison
from helpers.conformance.recording import (
    PAHO_2,
    TIMEOUT,
    Broker,
    Dialect,
    MakeClient,
    Recorder,
    Source,
    bring_online,
)
from helpers.conformance.steps import (
    drive,
    drive_until,
    fence,
    subscribe,
)

behaviour = Behaviours()


@behaviour(connected=True)
def answer_from_a_callback(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))

    def on_question(client: Any, _userdata: Any, message: Any) -> None:
        recorder.note(client, "question", message)
        recorder.note(client, "answer", client.publish("answer", message.payload, 1))
        client.subscribe("more")
        client.unsubscribe("question")

    client.message_callback_add("question", on_question)
    client.on_unsubscribe = recorder.callback(
        "on_unsubscribe", lambda c, *_: c.publish("more", "of the same")
    )
    subscribe(recorder, client, "question", "answer")
    client.publish("question", "?")
    recorder.wait_for(client, "on_message", 2)
    client.publish("question", "too late")
    fence(client, qos=0)


@behaviour(connected=True)
def disconnect_from_a_callback(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))
    client.on_message = recorder.callback("on_message", lambda c, *_: c.disconnect())
    subscribe(recorder, client, "end")
    client.publish("end")
    recorder.wait_for(client, "on_disconnect")


@behaviour(connected=True)
def stop_the_loop_from_a_callback(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))

    def stop(client: Any, *_args: Any) -> None:
        recorder.attempt(client, "loop_stop")
        client.disconnect()

    client.on_message = recorder.callback("on_message", stop)
    subscribe(recorder, client, "end")
    client.publish("end")
    recorder.wait_for(client, "on_disconnect")


@behaviour()
def raise_from_a_callback(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug in a callback")

    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_subscribe", "on_log")
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.on_message = fail
    client.subscribe("topic")
    drive_until(recorder, client, "on_subscribe")
    for client.suppress_exceptions in (False, True):
        client.publish("topic", "payload")
        received = threading.Event()
        client.on_message = lambda *_, received=received: (received.set(), fail())
        try:
            drive(client, received.is_set)
        except RuntimeError as error:
            recorder.note(client, "raised", str(error))
    client.on_message = recorder.callback("on_message")
    client.publish("topic", "as if nothing had happened")
    drive_until(recorder, client, "on_message")


@behaviour(
    connected=True,
)
def die_of_an_exception(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"))

    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug in a callback")

    died = threading.Event()

    def hook(args: Any) -> None:
        recorder.note(client, "the thread died", type(args.exc_value).__name__)
        died.set()

    subscribe(recorder, client, "topic")
    client.on_message = recorder.callback("on_message", fail)
    with mock.patch.object(threading, "excepthook", hook):
        client.publish("topic", "payload")
        assert died.wait(TIMEOUT)
    recorder.note(client, "is_connected", client.is_connected())


@behaviour()
def log(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_log", "on_connect", "on_message")
    client.username_pw_set("user", "password")
    client.will_set("will", "payload", qos=1, retain=True)
    client.connect(*broker.address, keepalive=33)
    drive_until(recorder, client, "on_connect")
    client.subscribe("topic", 2)
    client.publish("topic", "payload", qos=2)
    drive_until(recorder, client, "on_message")
    client.disconnect()
    drive(client, lambda: client.socket() is None)


@behaviour()
def log_to_a_logger(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one"), "on_connect", "on_message")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recorder.note(client, record.levelname, record.getMessage())

    logger = logging.Logger("of the client")
    logger.addHandler(Handler())
    client.enable_logger(logger)
    client.connect(*broker.address)
    drive_until(recorder, client, "on_connect")
    client.disable_logger()
    client.subscribe("topic")
    client.publish("topic", "unlogged")
    drive_until(recorder, client, "on_message")


@behaviour()
def hand_over_user_data(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one", userdata={"version": 1}))
    bring_online(client, broker.address)
    client.user_data_set("another")
    subscribe(recorder, client, "topic")
    client.publish("topic")
    recorder.wait_for(client, "on_message")


@behaviour(connected=True)
def replace_and_remove_callbacks(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = recorder.watch(make_client(client_id="one"))
    subscribe(recorder, client, "topic")
    for callback in (recorder.callback("replaced"), None):
        client.on_message = callback
        recorder.note(client, "same", client.on_message is callback)
        client.publish("topic", "payload")
        fence(client, qos=0)
    recorder.note(client, "left", [getattr(client, n) for n in ("on_message", "on_log")])


@behaviour(needs=PAHO_2)
def register_callbacks_by_decorators(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = make_client(client_id="one")
    for kind in (
        "pre_connect",
        "connect",
        "disconnect",
        "message",
        "publish",
        "subscribe",
        "unsubscribe",
        "socket_open",
        "socket_close",
    ):
        getattr(client, f"{kind}_callback")()(recorder.callback(f"on_{kind}"))
    client.topic_callback("filtered/#")(recorder.callback("topic_callback"))
    bring_online(client, broker.address)
    subscribe(recorder, client, "#")
    client.publish("filtered/a")
    client.publish("unfiltered")
    fence(client, qos=0)
    client.unsubscribe("#")
    recorder.wait_for(client, "on_unsubscribe")
    client.disconnect()
    recorder.wait_for(client, "on_socket_close")


@behaviour(needs=PAHO_2)
def register_logging_by_decorators(
    make_client: MakeClient, recorder: Recorder, broker: Broker
) -> None:
    client = make_client(client_id="one")
    for kind in ("log", "connect_fail", "socket_register_write", "socket_unregister_write"):
        getattr(client, f"{kind}_callback")()(recorder.callback(f"on_{kind}"))
    client.connect(*broker.address)
    drive(client, client.is_connected)
    client.disconnect()
    drive(client, lambda: client.socket() is None)


@behaviour(needs=PAHO_2)
def acknowledge_by_hand(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = recorder.watch(make_client(client_id="one", manual_ack=True))
    bring_online(client, broker.address)
    received: list[Any] = []
    client.on_message = recorder.callback("on_message", lambda _c, _u, m: received.append(m))
    client.subscribe("topic", 1)
    recorder.wait_for(client, "on_subscribe")
    client.publish("topic", "payload", 1)
    recorder.wait_for(client, "on_message")
    recorder.wait_for(client, "on_publish")
    recorder.attempt(client, "ack", received[0].mid, received[0].qos)


@behaviour(needs=PAHO_2)
def tell_about_itself(make_client: MakeClient, recorder: Recorder, broker: Broker) -> None:
    client = make_client(client_id="one", userdata="mine")
    client.username_pw_set("user", "password")
    client.will_set("will/topic", "will payload")
    client.keepalive = 41
    for moment in ("before", "while", "after"):
        if moment == "while":
            bring_online(client, broker.address, keepalive=42)
        if moment == "after":
            client.disconnect()
            client.loop_stop()
        for name in (
            "keepalive",
            "transport",
            "protocol",
            "connect_timeout",
            "username",
            "password",
            "max_inflight_messages",
            "max_queued_messages",
            "will_topic",
            "will_payload",
            "logger",
            "callback_api_version",
        ):
            recorder.note(client, f"{name} {moment}", getattr(client, name))
        recorder.note(client, "user_data_get", client.user_data_get())


@every_comparison(behaviour)
def test_a_loan_behaves_as_a_plain_client(case: Case, dialect: Dialect, source: Source) -> None:
    assert_same(case, dialect, source)
