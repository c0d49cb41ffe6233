import socket

import paho.mqtt.client as mqtt
import pytest
from helpers.drop_in import Repository
from helpers.inbox import Inbox, subscribe
from mqtt_testing.broker.connections import sessions_left
from mqtt_testing.wire.endpoint import MQTTEndpoint
from mqtt_testing.wire.packets import DISCONNECT
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


@pytest.mark.usefixtures("few_plugins")
class TestCleanBroker:
    """Two tests in the order they stand in would do; pytester makes sure of the order."""

    @pytest.fixture
    def repository(self, pytester):
        modules = ["mqtt_test_broker", "shared_mqtt_pool"]
        repository = Repository(pytester, modules)
        return repository.write(
            "tests/conftest.py",
            """
            from shared_mqtt_pool import (
                mqtt_client, mqtt_client_factory, mqtt_monitor, mqtt_topic_factory,
                shared_mqtt_pool,
            )
            """,
        )

    def test_retained_messages_go_with_the_test_whoever_published_them(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import paho.mqtt.publish
            import pytest

            @pytest.fixture(scope="module", autouse=True)
            def of_the_module(shared_mqtt_pool):
                client = shared_mqtt_pool.acquire()
                client.publish("module", "1", qos=1, retain=True)
                client.publish("changed", "1", qos=1, retain=True)
                yield
                shared_mqtt_pool.release(client)

            def retained(pool):
                pool.barrier()
                return {m.topic: m.payload for m in pool.watch().know_retained().values()}

            def test_one(mqtt_client, session_mqtt_broker, shared_mqtt_pool):
                mqtt_client.publish("mine", "1", retain=True)
                mqtt_client.publish("changed", "2", retain=True)
                mqtt_client.publish("module", b"", retain=True)
                paho.mqtt.publish.single(
                    "theirs", "1", retain=True,
                    hostname=session_mqtt_broker.host, port=session_mqtt_broker.port,
                )
                assert set(retained(shared_mqtt_pool)) == {"mine", "theirs", "changed"}

            def test_two(mqtt_monitor, shared_mqtt_pool):
                assert retained(shared_mqtt_pool) == {"module": b"1", "changed": b"1"}
                assert mqtt_monitor.messages == []
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_what_was_retained_before_keeps_its_properties(self, pool):
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("made", "before")
        clients = [pool.acquire(protocol=mqtt.MQTTv5) for _ in range(3)]
        clients[0].publish("state", "before", 1, retain=True, properties=properties)
        pool.barrier()
        before = pool.watch().know_retained()
        clients[1].publish("state", "after", 1, retain=True)
        pool.restore_retained(before)
        inbox = Inbox(clients[2])
        subscribe(clients[2], "state")
        inbox.wait_for("state")
        assert inbox.messages[0].payload == b"before"
        assert inbox.messages[0].properties.UserProperty == [("made", "before")]
        pool.restore_retained({})

    def test_nor_do_those_stay_that_a_fixture_publishes_as_it_ends(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest
            from paho.mqtt.publish import single

            @pytest.fixture
            def device(test_mqtt_broker):
                address = test_mqtt_broker.host, test_mqtt_broker.port
                single("device/status", "online", 1, True, *address)
                yield
                single("device/status", "offline", 1, True, *address)

            def test_one(device, mqtt_client): pass
            def test_two(mqtt_monitor, shared_mqtt_pool):
                assert shared_mqtt_pool.watch().know_retained() == {}
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    @pytest.mark.parametrize("end", ["stop", "kill", "restart"])
    def test_what_was_retained_before_comes_back_after(self, repository, end):
        repository.write(
            "tests/test_it.py",
            f"""
            import pytest

            @pytest.fixture(scope="module", autouse=True)
            def kept(shared_mqtt_pool):
                client = shared_mqtt_pool.acquire()
                client.publish("kept", "x", 1, retain=True).wait_for_publish(10)

            def test_one(test_mqtt_broker, mqtt_client): test_mqtt_broker.{end}()
            def test_two(mqtt_client, shared_mqtt_pool):
                assert set(shared_mqtt_pool.watch().know_retained()) == {{"kept"}}
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_a_session_is_ended_once(self, isolated_mqtt_broker):
        broker = isolated_mqtt_broker.start()
        endpoint = MQTTEndpoint(broker.host, broker.port)
        with socket.create_connection((broker.host, broker.port)) as connection:
            connection.sendall(b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01p" + DISCONNECT)
            assert connection.recv(4) == b"\x20\x02\x00\x00"
            assert connection.recv(1) == b"", "the broker has closed it"
        assert sessions_left(broker.log) == {"p"}
        endpoint.end_session("p")
        assert sessions_left(broker.log) == set()

    def test_topics_are_not_shared(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest
            seen = set()
            @pytest.mark.parametrize("n", ["+", "#", 3])
            def test(mqtt_topic_factory, mqtt_client, n):
                topic = mqtt_topic_factory("status")
                assert topic not in seen
                seen.add(topic)
                mqtt_client.publish(topic)
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=3)

    def test_a_dead_broker_is_one_clear_error(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            def test_one(mqtt_client, session_mqtt_broker): session_mqtt_broker.kill()
            def test_two(mqtt_client): assert mqtt_client.is_connected()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)
