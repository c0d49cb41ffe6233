"""Floods, large payloads and many clients: nothing blocks, and what is kept is bounded."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import raw_clients
from helpers.drop_in import Repository
from helpers.raw_clients import crowd, flood, in_another_process
from mqtt_test_broker import TestMQTTBroker
from shared_mqtt_pool import MQTTMonitor, SharedMQTTPool

MEGABYTE = 1024 * 1024


@pytest.fixture
def broker() -> Iterator[TestMQTTBroker]:
    with TestMQTTBroker(config_lines=["log_type all"]) as broker:
        yield broker


@pytest.fixture
def pool(broker: TestMQTTBroker) -> Iterator[SharedMQTTPool]:
    with SharedMQTTPool(broker.get_connection_params()) as pool:
        yield pool


def test_a_flood_is_counted_to_the_last_message(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    monitor = MQTTMonitor(pool)
    with in_another_process(flood, broker.port, 20) as process:
        monitor.wait_for("flood/end", timeout=60)
        assert process.wait(10) == 0
    assert len(monitor.messages) == 20_001
    assert broker.log.count("Received PUBLISH from flood") == 20_001


def test_a_barrier_waits_as_long_as_what_is_before_it_goes_on_arriving(
    pool: SharedMQTTPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 1.0)
    monitor = MQTTMonitor(pool)
    on_message = pool.watch()._client.on_message
    assert on_message is not None

    def in_its_own_time(*args: Any) -> None:
        threading.Event().wait(0.01)
        on_message(*args)

    pool.watch()._client.on_message = in_its_own_time
    client = pool.acquire()
    for number in range(200):  # two seconds
        client.publish("flood", str(number))
    pool.barrier()
    assert len(monitor.messages) == 200


def test_loans_come_and_go_in_a_flood(broker: TestMQTTBroker, pool: SharedMQTTPool) -> None:
    with in_another_process(flood, broker.port, 1000) as process:
        MQTTMonitor(pool).wait_for("flood", timeout=60)
        for _ in range(20):
            client = pool.acquire()
            arrived = threading.Event()
            client.on_message = lambda *_args, arrived=arrived: arrived.set()  # type: ignore[misc]
            client.subscribe("flood/#")
            assert arrived.wait(10), "the flood does not reach a loan"
            pool.release(client)
        assert process.poll() is None, "the flood was over before the last loan was"


def test_payloads_of_megabytes_go_there_and_back(pool: SharedMQTTPool) -> None:
    publisher, subscriber = pool.acquire(), pool.acquire()
    arrived: list[Any] = []
    granted, complete = threading.Event(), threading.Event()

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        arrived.append(message)
        if len(arrived) == 3:
            complete.set()

    subscriber.on_message = on_message
    subscriber.on_subscribe = lambda *_args: granted.set()
    subscriber.subscribe("large/#", 2)
    assert granted.wait(10), "no SUBACK"
    for qos in range(3):
        publisher.publish(f"large/{qos}", bytes([qos]) * 8 * MEGABYTE, qos, retain=True)
    assert complete.wait(30), f"only {len(arrived)} of 3 arrived"
    for message in arrived:
        assert message.payload == bytes([message.qos]) * 8 * MEGABYTE
    assert len(pool.watch().know_retained()) == 3
    pool.restore_retained({})
    assert pool.watch().know_retained() == {}


def test_messages_of_all_lengths_arrive_as_they_were(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    payloads = [os.urandom(length) for length in range(0, 20_000, 13)]
    monitor = MQTTMonitor(pool)
    with raw_clients.connect(broker.port, "publisher") as connection:
        connection.sendall(b"".join(raw_clients.publish("any", p) for p in payloads))
        arrived = monitor.wait_for("any", len(payloads), timeout=60)
    assert [message.payload for message in arrived] == payloads


def test_half_a_message_is_forgotten_with_its_connection(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    monitor = MQTTMonitor(pool)
    publisher, subscriber = (raw_clients.connect(broker.port, name) for name in "ab")
    with publisher, subscriber:
        subscriber.sendall(raw_clients.subscribe("#"))
        assert subscriber.recv(5, socket.MSG_WAITALL)[:1] == raw_clients.SUBACK
        publisher.sendall(raw_clients.publish("large", bytes(100 * MEGABYTE)))
        assert subscriber.recv(1), "the broker has closed the connection"
        broker.kill()  # in the middle of sending it, to us as well
    broker.start()
    pool.barrier()
    assert monitor.messages == []
    client = pool.acquire()
    client.publish("small", b"whole")
    [message] = monitor.wait_for("small")
    assert message.payload == b"whole"


def test_threads_that_send_on_the_shared_connection_do_not_mix(
    broker: TestMQTTBroker, pool: SharedMQTTPool
) -> None:
    client = pool.acquire()
    large = os.urandom(16 * MEGABYTE)
    client.publish("large", large, 1, retain=True).wait_for_publish(60)
    pool.barrier()
    before = pool.watch().know_retained()
    client.publish("large", b"small", 1, retain=True).wait_for_publish(60)

    def send() -> None:
        for _ in range(100):
            pool.watch().barrier()

    broker.pause()  # so that each finds a connection that takes no more
    restoring = threading.Thread(target=pool.restore_retained, args=(before,))
    sending = [threading.Thread(target=send) for _ in range(8)]
    for thread in (restoring, *sending):
        thread.start()
    broker.resume()
    for thread in (restoring, *sending):
        thread.join(60)
        assert not thread.is_alive()

    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    client.on_message = lambda _client, _userdata, message: arrived.put(message.payload)
    client.subscribe("#")
    assert arrived.get(timeout=60) == large


def test_the_monitor_keeps_so_many_bytes_and_no_more(
    pool: SharedMQTTPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_testing.clients.limits.HISTORY_SIZE", 3 * MEGABYTE)
    monitor = MQTTMonitor(pool)
    client = pool.acquire()
    for number in range(10):
        client.publish(f"large/{number}", bytes(MEGABYTE), 1)
    client.publish("larger/than/all", bytes(4 * MEGABYTE), 1)
    monitor.wait_for("larger/than/all")
    assert [message.topic for message in monitor.messages] == ["larger/than/all"]
    assert monitor.dropped == 10
    with pytest.raises(pytest.fail.Exception, match="cannot be told: 10 earlier messages were not"):
        monitor.assert_none("small/#")
    monitor.clear()
    monitor.assert_none("small/#")


def test_what_the_monitor_did_not_keep_is_in_the_summary(
    pytester: pytest.Pytester,
    few_plugins: None,
) -> None:
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    repository.write(
        "tests/conftest.py",
        """
        from mqtt_testing.clients import limits
        from shared_mqtt_pool import mqtt_client, mqtt_monitor

        limits.HISTORY_LENGTH = 10
        """,
    )
    repository.write(
        "tests/test_it.py",
        """
        def test_it(mqtt_client, mqtt_monitor):
            for number in range(30):
                mqtt_client.publish("n", str(number), 1)
            mqtt_monitor.wait_for("n", where=lambda message: message.payload == b"29")
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*messages that mqtt_monitor did not keep*", "*::test_it: 20 earlier messages were not*"]
    )


def test_a_thousand_clients_are_served(broker: TestMQTTBroker, pool: SharedMQTTPool) -> None:
    monitor = MQTTMonitor(pool)
    with in_another_process(crowd, broker.port, 1000):
        assert len(monitor.wait_for("hello/+", count=1000, timeout=60)) == 1000
        assert pool.acquire().is_connected()


def test_two_hundred_loans_at_a_time_leave_nothing(pool: SharedMQTTPool) -> None:
    threads_before = threading.active_count()
    for client in [pool.acquire() for _ in range(200)]:
        pool.release(client)
    assert pool.ref_count == 0
    assert threading.active_count() == threads_before
