import os
import queue
import threading

import paho.mqtt.client as mqtt
import pytest
from helpers.clients import connected
from helpers.inbox import Inbox, subscribe
from mqtt_test_broker import TestMQTTBroker
from mqtt_testing.wire.packets import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from shared_mqtt_pool import MQTTMonitor, SharedMQTTPool


class TestMonitor:
    def test_tells_what_was_published_as_it_was_published(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("device/1", '{"on": true}', qos=2, retain=True)
        [message] = mqtt_monitor.wait_for("device/+")
        assert message.topic == "device/1"
        assert message.json() == {"on": True}
        assert (message.qos, message.retain) == (2, True)

    @pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_400, 300_000])
    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("topic", ["t", "Küche/温度", "long/" * 40])
    def test_reads_every_packet_that_there_can_be(
        self, mqtt_client_factory, mqtt_monitor, topic, qos, size
    ):
        client = mqtt_client_factory(protocol=mqtt.MQTTv5)
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("made", "by hand" * 50)
        payload = os.urandom(size)
        client.publish(topic, payload, qos)
        client.publish(topic, payload, qos, retain=True, properties=properties)
        plain, rich = mqtt_monitor.wait_for(topic, count=2)
        assert plain == MQTTMessage(topic, payload, qos, retain=False)
        assert rich == MQTTMessage(topic, payload, qos, True, rich.properties)
        assert plain.properties is None
        assert rich.properties.UserProperty == [("made", "by hand" * 50)]

    def test_sees_what_outsiders_publish(self, session_mqtt_broker, mqtt_monitor):
        with connected(session_mqtt_broker) as client:
            client.publish("outside")
            mqtt_monitor.wait_for("outside")

    def test_counts_messages_from_before_the_wait(self, mqtt_client, mqtt_monitor):
        for number in range(3):
            mqtt_client.publish("n", str(number))
        assert [m.payload for m in mqtt_monitor.wait_for("n", count=3)] == [b"0", b"1", b"2"]
        assert len(mqtt_monitor.wait_for("n", count=2)) == 3

    def test_sees_the_whole_test_whenever_it_is_asked_for(
        self, shared_mqtt_pool, mqtt_client, request
    ):
        mqtt_client.publish("before/the/monitor")
        shared_mqtt_pool.barrier()
        assert request.getfixturevalue("mqtt_monitor").wait_for("before/the/monitor", timeout=0)

    def test_waits_for_a_condition(self, mqtt_client, mqtt_monitor):
        for number in range(5):
            mqtt_client.publish("n", str(number))
        [message] = mqtt_monitor.wait_for("n", where=lambda m: m.payload == b"3")
        assert message.payload == b"3"

    def test_fails_with_what_came_instead(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("other", "x" * 100, retain=True)
        with pytest.raises(pytest.fail.Exception) as failure:
            mqtt_monitor.wait_for("device/#", count=2, timeout=0.05)
        assert "Waited for 2 messages on 'device/#' within 0.05 s; 0 came" in str(failure.value)
        assert f"other: b'{'x' * 80}'... (QoS 0, retained)" in str(failure.value)

    def test_fails_in_time_though_other_messages_go_on_arriving(
        self, shared_mqtt_pool, mqtt_client, mqtt_monitor
    ):
        def is_it(_message):
            mqtt_client.publish("another", qos=1)
            shared_mqtt_pool.barrier()
            return False

        mqtt_client.publish("one", qos=1)
        with pytest.raises(pytest.fail.Exception, match=r"within 0\.2 s that meet the condition"):
            mqtt_monitor.wait_for("#", where=is_it, timeout=0.2)

    def test_masks_secrets_where_it_fails(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("other", '{"password": "h1dden"}')
        with pytest.raises(pytest.fail.Exception) as unexpected:
            mqtt_monitor.assert_none("other")
        with pytest.raises(pytest.fail.Exception) as missing:
            mqtt_monitor.wait_for("device", timeout=0)
        for failure in (unexpected, missing):
            assert """other: b'{"password": "***"}' (QoS 0)""" in str(failure.value)

    def test_fails_where_nothing_came_at_all(self, mqtt_monitor):
        with pytest.raises(pytest.fail.Exception, match="Nothing was published at all"):
            mqtt_monitor.wait_for("#", timeout=0)

    def test_proves_an_absence(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("other", qos=1)
        mqtt_monitor.assert_none("device/#")

    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_does_not_miss_a_burst_that_is_still_under_way(self, mqtt_client, mqtt_monitor, qos):
        for number in range(200):
            mqtt_client.publish("burst", str(number), qos=qos)
        with pytest.raises(pytest.fail.Exception, match="b'199'"):
            mqtt_monitor.assert_none("burst")

    def test_does_not_miss_what_a_client_that_is_not_on_loan_has_just_sent(
        self, session_mqtt_broker, mqtt_monitor
    ):
        with connected(session_mqtt_broker) as outsider:
            for number in range(200):
                outsider.publish(f"outside/{number}")
                with pytest.raises(pytest.fail.Exception, match="Nothing was to be published"):
                    mqtt_monitor.assert_none(f"outside/{number}")

    def test_forgets_on_request(self, mqtt_client, mqtt_monitor):
        mqtt_client.publish("before")
        mqtt_monitor.clear()
        assert mqtt_monitor.messages == []
        mqtt_monitor.assert_none("before")

    @pytest.mark.parametrize("number", range(10))
    def test_misses_nothing_after_a_restart(
        self, test_mqtt_broker, mqtt_client_factory, mqtt_monitor, number
    ):
        test_mqtt_broker.restart()
        mqtt_client_factory().publish("alarm", qos=1).wait_for_publish(10)
        with pytest.raises(pytest.fail.Exception, match="was to be published"):
            mqtt_monitor.assert_none("alarm")

    def test_tells_what_came_though_the_broker_is_stopped(
        self, test_mqtt_broker, mqtt_client, mqtt_monitor
    ):
        mqtt_client.publish("before", qos=1)
        mqtt_monitor.wait_for("before")
        test_mqtt_broker.stop()
        assert len(mqtt_monitor.wait_for("before")) == len(mqtt_monitor.messages) == 1

    def test_waits_for_a_broker_that_is_started_meanwhile(
        self, test_mqtt_broker, mqtt_client, mqtt_monitor
    ):
        mqtt_client.on_connect = lambda client, *_args: client.publish("online", qos=1)
        test_mqtt_broker.stop()
        starter = threading.Timer(0.1, test_mqtt_broker.start)
        starter.start()
        mqtt_monitor.wait_for("online", timeout=10)
        starter.join()

    def test_hears_of_what_comes_by_another_connection_than_it_began_with(self):
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            monitor, found = MQTTMonitor(pool), queue.SimpleQueue()
            waiter = threading.Thread(target=lambda: found.put(monitor.wait_for("t", timeout=10)))
            waiter.start()
            broker.restart()
            pool.barrier()
            pool.acquire().publish("t")
            assert found.get(timeout=5)
            waiter.join()

    @pytest.mark.parametrize("malformed", ["", "a/#/b", "a#", "a+/b"])
    def test_refuses_a_malformed_filter(self, mqtt_monitor, malformed):
        with pytest.raises(ValueError, match="no MQTT topic filter"):
            mqtt_monitor.wait_for(malformed)

    @pytest.mark.parametrize("unseen", ["$SYS/#", "$share/group/job"])
    def test_refuses_a_filter_of_topics_that_it_does_not_see(self, mqtt_monitor, unseen):
        with pytest.raises(ValueError, match="does not see topics that begin with"):
            mqtt_monitor.assert_none(unseen)

    def test_says_what_it_did_not_keep(self, session_mqtt_broker, mqtt_client, monkeypatch):
        monkeypatch.setattr("mqtt_testing.clients.limits.HISTORY_LENGTH", 10)
        with SharedMQTTPool(session_mqtt_broker.get_connection_params()) as pool:
            monitor = MQTTMonitor(pool)
            for number in range(25):
                mqtt_client.publish("n", str(number), qos=1)
            monitor.wait_for("n", where=lambda m: m.payload == b"24")
            assert len(monitor.messages) == 10
            with pytest.raises(pytest.fail.Exception, match="15 earlier ones"):
                monitor.wait_for("other", timeout=0)

    def test_does_not_see_the_barriers(self, mqtt_client, mqtt_monitor, pool):
        mqtt_monitor.assert_none("#")
        pool.barrier()
        assert mqtt_monitor.messages == []

    def test_its_barriers_are_hidden_from_the_clients(self, mqtt_client, mqtt_monitor):
        inbox = Inbox(mqtt_client)
        published = []
        mqtt_client.on_publish = lambda *args: published.append(args)
        subscribe(mqtt_client, "#")
        mqtt_monitor.assert_none("x")
        mqtt_client.publish("end")
        inbox.wait_for("end")
        assert inbox.topics == ["end"]
        assert len(published) == 1
