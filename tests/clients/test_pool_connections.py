"""How the pool gets in, whose sessions it ends, and what it survives of a broker."""

import os
import queue
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import paho.mqtt.client as mqtt
import pytest
from helpers.clients import NOWHERE, connected, paho_client
from helpers.inbox import Inbox, subscribe
from helpers.processes import wait_until
from mqtt_test_broker import TestMQTTBroker
from mqtt_testing.clients.observing_client import ObservingClient
from mqtt_testing.clients.paho_internals import new_client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.publish import single
from shared_mqtt_pool import MQTTConnectionError, MQTTMonitor, SharedMQTTPool


class TestConnections:
    def test_says_where_it_cannot_connect(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with (
                SharedMQTTPool({"host": "127.0.0.1", "port": port}) as pool,
                pytest.raises(
                    MQTTConnectionError,
                    match=r"MQTT connection failed: .*Check",
                ),
            ):
                pool.acquire()
            assert pool.ref_count == 0

    @pytest.mark.parametrize("params", [{"host": "here"}, {"host": "h", "port": 1, "what": 2}])
    def test_refuses_params_that_it_does_not_know(self, params):
        with pytest.raises(ValueError, match="connection_params"):
            SharedMQTTPool(params)

    @pytest.mark.parametrize(
        "options",
        [{"username": "me", "password": "s3cret"}, {"tls": True}, {"websockets": True}],
        ids=str,
    )
    def test_gets_in_wherever_the_broker_lets_it(self, options):
        with TestMQTTBroker(**options) as broker:
            params = {**broker.get_connection_params(), **broker.get_security_params()}
            with SharedMQTTPool(params) as pool:
                client = pool.acquire()
                inbox = Inbox(client)
                subscribe(client, "secured")
                client.publish("secured")
                inbox.wait_for("secured")
                with pool.lending():
                    other = paho_client()
                    other.connect(NOWHERE, 9)
                    other.loop_start()
                    assert wait_until(other.is_connected)

    def test_says_at_once_that_it_is_refused(self):
        with TestMQTTBroker(username="me", password="right") as broker:
            params = {**broker.get_connection_params(), "username": "me", "password": "wrong"}
            refused = pytest.raises(MQTTConnectionError, match="Not authorized")
            with SharedMQTTPool(params) as pool, refused:
                assert pool.watch()

    def test_says_at_once_that_a_client_is_refused(self):
        with TestMQTTBroker(username="me", password="right") as broker:
            params = {**broker.get_connection_params(), "username": "me", "password": "wrong"}
            with SharedMQTTPool(params) as pool:
                with pytest.raises(MQTTConnectionError, match=r"[Nn]ot authori[sz]ed"):
                    pool.acquire()
                assert pool.ref_count == 0

    def test_ends_a_session_whose_client_id_the_broker_has_chosen(self, session_mqtt_broker, pool):
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 600
        connacks = queue.Queue()
        with pool.lending():
            client = paho_client(client_id="", protocol=mqtt.MQTTv5)
            client.on_connect = lambda *args: connacks.put(args[-1])
            client.connect("anywhere", properties=lasting)
            client.loop_start()
            chosen = connacks.get(timeout=10).AssignedClientIdentifier
        with connected(session_mqtt_broker, client_id=chosen, clean_session=False) as successor:
            assert not successor.session_present

    def test_ends_the_session_also_where_the_test_has_disconnected(self, session_mqtt_broker, pool):
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 600
        connacks = queue.Queue()
        with pool.lending():
            client = paho_client(client_id="", protocol=mqtt.MQTTv5)
            client.on_connect = lambda *args: connacks.put(args[-1])
            client.connect("anywhere", properties=lasting)
            client.loop_start()
            chosen = connacks.get(timeout=10).AssignedClientIdentifier
            client.disconnect()
            client.loop_stop()
        with connected(session_mqtt_broker, client_id=chosen, clean_session=False) as again:
            assert not again.session_present

    def test_ends_it_also_where_on_connect_has_failed(self, session_mqtt_broker, pool):
        def fail(*_args):
            raise ConnectionError("in on_connect")

        with pool.lending():
            client = paho_client(client_id="raiser", clean_session=False)
            client.on_connect = fail
            client.connect(session_mqtt_broker.host, session_mqtt_broker.port)
            with pytest.raises(ConnectionError, match="in on_connect"):
                client.loop_forever()
        with connected(session_mqtt_broker, client_id="raiser", clean_session=False) as again:
            assert not again.session_present

    def test_ends_every_session_that_a_client_has_had(self, session_mqtt_broker, pool):
        client = pool.acquire(client_id="first", clean_session=False)
        client.disconnect()
        client.loop_stop()
        client.reinitialise("second")
        pool.release(client)
        with connected(session_mqtt_broker, client_id="first", clean_session=False) as again:
            assert not again.session_present

    @pytest.mark.parametrize("is_told", [True, False], ids=["long ago", "this very moment"])
    def test_leaves_the_session_to_an_outsider_that_has_taken_it_over(
        self, session_mqtt_broker, pool, monkeypatch, is_told
    ):
        client = pool.acquire(client_id="shared", clean_session=False)
        client.disconnect()
        if not is_told:  # its on_connect has been called, and our listener is about to be
            monkeypatch.setattr(pool, "answered", lambda _client: None)
        with connected(session_mqtt_broker, client_id="shared", clean_session=False) as outsider:
            assert outsider.session_present
            pool.release(client)
            outsider.subscribe_and_wait("still/there")

    def test_survives_a_restart_of_the_broker(self):
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            pool.barrier()
            broker.kill()
            broker.start()
            pool.barrier()
            client = pool.acquire()
            client.publish("after", qos=1).wait_for_publish(10)
            pool.barrier()
            assert [m.topic for m in pool.history.since(0)[0]] == ["after"]

    @pytest.mark.parametrize(
        "packet",
        [
            b"\x40\x01\x00",
            b"\x90\x01\x00",
            b"\x30\x07\x00\x01a\x03\xff\xff\xff",
            b"\x30\x00",
            b"\x30\x80\x80\x80\x80\x01" + bytes(40),
            b"\x30\xff\xff\xff\xff\x7f",
        ],
        ids=["PUBACK", "SUBACK", "properties", "empty PUBLISH", "length", "huge length"],
    )
    def test_a_malformed_packet_is_an_error_of_the_protocol(self, packet):
        ours, brokers = socket.socketpair()
        with ours, brokers:
            client = new_client(ObservingClient, protocol=mqtt.MQTTv5)
            client._sock = ours
            client.on_message = lambda _message: None
            brokers.sendall(packet)
            assert client._packet_read() == mqtt.MQTT_ERR_PROTOCOL

    def test_survives_one_while_the_clock_of_paho_stands_still(self, monkeypatch):
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            pool.barrier()
            with monkeypatch.context() as frozen:
                frozen.setattr(mqtt, "time_func", lambda: 1577836800.0)
                broker.restart()
                pool.barrier()
            pool.barrier()

    def test_a_restart_in_the_middle_of_a_barrier_is_survived(self):
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            observer, busy, go_on = pool.watch(), threading.Event(), threading.Event()
            hear = observer._client.on_message

            def hear_slowly(*args):
                busy.set()
                go_on.wait(10)
                hear(*args)

            observer._client.on_message = hear_slowly
            with connected(broker) as client:
                client.publish("busy")
                assert busy.wait(10)
            broker.restart()
            barrier = threading.Thread(target=pool.barrier)
            barrier.start()
            go_on.set()
            barrier.join(10)
            assert not barrier.is_alive()

    @pytest.mark.timeout(30)
    def test_a_barrier_does_not_wait_for_a_broker_that_died(self, monkeypatch):
        monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 3600)
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            pool.broker_died = broker.died
            observer = pool.watch()
            broker.pause()
            with ThreadPoolExecutor() as executor:
                barrier = executor.submit(observer.barrier)
                os.kill(broker.pid, signal.SIGKILL)
                with pytest.raises(MQTTConnectionError, match="the broker has ended"):
                    barrier.result()

    def test_a_monitor_goes_on_after_an_outage_in_which_others_tried_to_connect(self):
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            monitor, client = MQTTMonitor(pool), pool.acquire()
            client.publish("before", qos=1)
            monitor.clear()
            broker.stop()
            with pytest.raises(ConnectionRefusedError):
                client.reconnect()
            broker.start()
            pool.barrier()
            single("after", qos=1, hostname=broker.host, port=broker.port)
            assert [message.topic for message in monitor.wait_for("#")] == ["after"]

    def test_a_client_that_waits_for_the_pool_keeps_nobody_else(self, monkeypatch):
        monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 1)
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            pool.watch()
            broker.stop()
            with socket.create_server((broker.host, broker.port)) as silent:
                with ThreadPoolExecutor(1) as executor:
                    connecting = executor.submit(paho_client().connect, *silent.getsockname())
                    silent.accept()[0].close()  # somebody is there, but does not answer
                    paho_client().publish("t")
                    assert not connecting.done()
                assert connecting.result() == mqtt.MQTT_ERR_SUCCESS
