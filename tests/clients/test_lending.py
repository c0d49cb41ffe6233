"""Every client that is made goes to the broker, and is prompt."""

import statistics
import threading
import time

import paho.mqtt.client as mqtt
import pytest
from helpers.clients import NOWHERE, connected, paho_client
from helpers.inbox import Inbox, subscribe
from helpers.processes import wait_until
from mqtt_test_broker import TestMQTTBroker


class TestLending:
    def test_connects_every_client_to_the_broker_whatever_address_it_is_given(self, pool):
        with pool.lending():
            client = paho_client()
            client.connect(NOWHERE, 9)
            client.loop_start()
            assert wait_until(client.is_connected)
            assert pool.ref_count == 1
        assert not client.is_connected()
        assert pool.ref_count == 0

    def test_reaches_subclasses_and_names_imported_before(self, pool):
        class Mine(mqtt.Client):
            pass

        with pool.lending():
            options = {}
            if hasattr(mqtt, "CallbackAPIVersion"):
                options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
            client = Mine(**options)
            client.connect_async(NOWHERE, 9)
            client.loop_start()
            assert wait_until(client.is_connected)

    def test_a_client_that_is_made_anew_goes_back_once(self, pool):
        with pool.lending() as lending:
            client = paho_client(client_id="first")
            client.reinitialise("second")
        assert lending.clients == [client]
        assert pool.ref_count == 0

    def test_nested_lendings_end_what_was_made_in_them(self, pool):
        with pool.lending():
            outer = paho_client()
            with pool.lending():
                paho_client()
                assert pool.ref_count == 2
            assert pool.clients_on_loan() == [outer]

    def test_a_nested_lending_that_lent_nothing_ends_itself_only(self, pool):
        with pool.lending():
            with pool.lending():
                pass
            client = paho_client()
            assert pool.clients_on_loan() == [client]
        assert pool.ref_count == 0

    def test_a_message_that_was_lost_with_a_connection_is_no_error(self, pool):
        with pool.lending():
            client = paho_client()
            client.connect(NOWHERE, 9)
            client.on_socket_register_write = lambda *_args: None  # nobody writes
            client.publish("lost")
            client.on_socket_register_write = None
            client.reconnect()
            client.loop_start()
            assert wait_until(client.is_connected)
            client.publish("kept", qos=1).wait_for_publish(10)
            pool.barrier()

    def test_a_client_that_went_back_does_not_come_again(self, pool):
        with pool.lending():
            client = paho_client()
            client.connect(NOWHERE, 9)
        with pytest.raises(ConnectionRefusedError, match="its test is over"):
            client.reconnect()

    def test_outside_it_nothing_is_changed(self, pool):
        with TestMQTTBroker() as other, connected(other):
            assert pool.ref_count == 0


class TestPromptness:
    """Ratios of what was measured in the same run, never seconds."""

    def test_nor_while_it_waits_to_connect_again(self, pool):
        with pool.lending():
            client = paho_client()
            failed = threading.Event()
            client.on_connect_fail = lambda *_args: failed.set()
            client.reconnect = _refuse
            client.connect_async(NOWHERE, 9)
            client.loop_start()
            assert failed.wait(10)
            thread = client._thread
            client.loop_stop()
            assert not thread.is_alive()

    def test_acknowledged_round_trips_are_not_delayed(self, pool):
        client = pool.acquire()
        inbox = Inbox(client)
        subscribe(client, "round/#", 2)
        trips = {qos: [] for qos in (0, 1, 2)}
        for number in range(50):
            for qos, seconds in trips.items():
                topic = f"round/{qos}/{number}"
                start = time.perf_counter()
                client.publish(topic, qos=qos)
                inbox.wait_for(topic)
                seconds.append(time.perf_counter() - start)
        # With Nagle's delay they take 200 times as long as QoS 0.
        medians = {qos: statistics.median(seconds) for qos, seconds in trips.items()}
        assert medians[1] < 20 * medians[0]
        assert medians[2] < 40 * medians[0]


def _refuse():
    raise ConnectionRefusedError
