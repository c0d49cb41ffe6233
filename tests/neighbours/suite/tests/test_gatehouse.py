import threading

import pytest


@pytest.fixture
def gatehouse():
    raise AssertionError("the slow fixture was used")


class TestClients:
    def test_a_message(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("status", "on", qos=1)
        [message] = mqtt_monitor.wait_for("status")
        assert message.payload == b"on"

    def test_silence(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("status", "off")
        mqtt_monitor.assert_none("alarm")


class TestBroker:
    def test_an_address(self, test_mqtt_broker):
        assert test_mqtt_broker.is_running()

    def test_a_restart(self, isolated_mqtt_broker):
        isolated_mqtt_broker.kill()
        isolated_mqtt_broker.start()
        assert isolated_mqtt_broker.wait_for_ready(5)


class TestService:
    def test_a_command(self, gatehouse, mqtt_client, mqtt_monitor):
        mqtt_client.publish("gate/command", "open", qos=1)
        [message] = mqtt_monitor.wait_for("gate/state")
        assert message.retain

    def test_a_round(self, gatehouse, mqtt_monitor):
        mqtt_monitor.assert_none("gate/round")
        gatehouse.run_round_once()
        mqtt_monitor.wait_for("gate/round")

    def test_an_evening(self, gatehouse, mqtt_monitor):
        gatehouse.run_evening_once()
        mqtt_monitor.wait_for("gate/state")

    def test_a_count(self, gatehouse):
        assert gatehouse.count() == 3

    def test_a_thread_that_it_leaves(self, gatehouse):
        threading.Thread(target=threading.Event().wait).start()
