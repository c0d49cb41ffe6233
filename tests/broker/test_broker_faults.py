"""What can be done to a broker so that a test can watch a service cope."""

import paho.mqtt.client as mqtt
import pytest
from helpers.clients import TIMEOUT, connected
from helpers.watched_clients import Watched, client_in_another_process
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.broker.connections import OBSERVER_ID_PREFIX
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class TestDisconnecting:
    @pytest.mark.parametrize(
        "options",
        [{}, {"tls": True}, {"websockets": True}, {"tls": True, "websockets": True}],
        ids=["plain", "TLS", "websockets", "TLS and websockets"],
    )
    def test_a_client_loses_its_connection_and_comes_back(self, options):
        with TestMQTTBroker(**options) as broker, Watched(broker) as one:
            pid = broker.pid
            broker.disconnect_clients()
            assert one.next_event() == "lost"
            assert one.next_event() == "connected"
            assert broker.pid == pid

    def test_the_broker_goes_on_with_what_it_retains(self, broker):
        with Watched(broker) as one:
            one.client.publish("kept", "1", qos=1, retain=True).wait_for_publish(TIMEOUT)
            broker.disconnect_clients()
            assert one.next_event() == "lost"
        with connected(broker) as client:
            assert [message.topic for message in client.received_on("#")] == ["kept"]

    def test_those_that_are_not_named_stay(self, broker):
        with Watched(broker, client_id="one") as one, Watched(broker, client_id="two (2)") as two:
            broker.disconnect_clients("two (2)")
            assert two.next_event() == "lost"
            assert two.next_event() == "connected"
            assert one.has_been_left_alone()

    def test_it_can_be_done_again_and_again(self, broker):
        with Watched(broker, client_id="one") as one:
            for _ in range(5):
                broker.disconnect_clients("one")
                assert [one.next_event(), one.next_event()] == ["lost", "connected"]

    def test_one_that_watches_for_the_tests_is_spared_unless_it_is_named(self, broker):
        observer_id = OBSERVER_ID_PREFIX + "1"
        with Watched(broker, client_id=observer_id) as observer, Watched(broker) as one:
            broker.disconnect_clients()
            assert one.next_event() == "lost"
            assert observer.has_been_left_alone()
            broker.disconnect_clients(observer_id)
            assert observer.next_event() == "lost"

    def test_a_client_that_is_not_connected_is_named(self, broker):
        with Watched(broker, client_id="one") as one:
            with pytest.raises(BrokerError, match=r"no client two .* that came are one"):
                broker.disconnect_clients("one", "two")
            assert one.next_event() == "lost"
        with pytest.raises(BrokerError, match="no client one is connected"):
            broker.disconnect_clients("one")

    def test_a_dead_broker_has_no_clients(self, broker):
        broker.kill()
        broker.disconnect_clients()
        with pytest.raises(BrokerError, match=r"no client one is connected from this process\.$"):
            broker.disconnect_clients("one")

    def test_a_broker_that_is_not_started_says_so(self):
        with pytest.raises(BrokerError, match="call start"):
            TestMQTTBroker().disconnect_clients()

    def test_the_monitor_sees_the_will_and_nothing_twice(
        self, test_mqtt_broker, mqtt_client, mqtt_monitor
    ):
        mqtt_client.publish("kept", "1", retain=True)
        mqtt_monitor.wait_for("kept")
        service = Watched(test_mqtt_broker)
        service.client.will_set("service/status", "gone", qos=1)
        with service:
            test_mqtt_broker.disconnect_clients()
            assert service.next_event() == "lost"
            [will] = mqtt_monitor.wait_for("service/status")
            assert will.payload == b"gone"
            assert [message.topic for message in mqtt_monitor.messages] == [
                "kept",
                "service/status",
            ]

    @pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
    def test_a_session_that_is_to_be_kept_is_resumed(self, broker, version):
        with Watched(broker, again_after=0.5, **_persistent(version)) as service:
            service.client.subscribe("to/service", qos=1)
            assert service.has_been_left_alone()
            broker.disconnect_clients("service")
            assert service.next_event() == "lost"
            with connected(broker) as client:
                client.publish("to/service", "meanwhile", qos=1).wait_for_publish(TIMEOUT)
            assert service.next_event() == "connected"
            assert service.messages.get(timeout=TIMEOUT).payload == b"meanwhile"

    def test_a_client_in_another_process_stays_connected(self, broker):
        with client_in_another_process(broker), Watched(broker, client_id="one") as one:
            broker.disconnect_clients()
            assert [one.next_event(), one.next_event()] == ["lost", "connected"]
            with pytest.raises(BrokerError, match="no client elsewhere is connected from this"):
                broker.disconnect_clients("elsewhere")


def _persistent(version):
    if version == mqtt.MQTTv5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
        connect = {"clean_start": False, "properties": properties}
        return {"client_id": "service", "protocol": version, "connect": connect}
    return {"client_id": "service", "protocol": version, "clean_session": False}
