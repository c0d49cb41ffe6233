"""Loans from the pool: real clients, lent to many and taken back whatever became of them."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from helpers.clients import NOWHERE, connected, paho_client
from helpers.inbox import Inbox, subscribe
from helpers.processes import wait_until
from mqtt_test_broker import BrokerError
from mqtt_testing.clients.ending import end_client
from mqtt_testing.clients.listeners import ClientListener
from mqtt_testing.clients.paho_internals import new_client
from paho.mqtt.packettypes import PacketTypes
from shared_mqtt_pool import MQTTConnectionError, MQTTMonitor, SharedMQTTPool


async def _connect_by_event_loop(client, broker):
    """Connect as paho's own example for asyncio does, and leave the loop to itself."""
    loop = asyncio.get_running_loop()
    connected = asyncio.Event()
    client.on_connect = lambda *_args: connected.set()
    client.on_socket_open = lambda _c, _u, sock: loop.add_reader(sock, client.loop_read)
    client.on_socket_close = lambda _c, _u, sock: loop.remove_reader(sock)
    client.on_socket_register_write = lambda _c, _u, sock: loop.add_writer(sock, client.loop_write)
    client.on_socket_unregister_write = lambda _c, _u, sock: loop.remove_writer(sock)
    client.connect(broker.host, broker.port)
    await asyncio.wait_for(connected.wait(), 10)
    client.publish("hello")


def _loop_by_hand(client, over):
    while not over.is_set():
        client.loop(0.01)


class HeldConnections(ClientListener):
    """Holds connections as a slow network does, just before they are made."""

    def __init__(self):
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def route(self, _client, host, port):
        self.reached.set()
        assert self.go_on.wait(10)
        return host, port


class TestPool:
    def test_lends_real_clients_that_are_connected(self, pool):
        client = pool.acquire()
        assert isinstance(client, mqtt.Client)
        assert client.is_connected()
        assert pool.ref_count == 1
        pool.release(client)
        assert not client.is_connected()
        assert pool.ref_count == 0

    def test_knows_the_topic_for_which_an_alias_stands(self, pool):
        client = pool.acquire(protocol=mqtt.MQTTv5)
        properties = mqtt.Properties(PacketTypes.PUBLISH)
        properties.TopicAlias = 1
        for topic in ("state", ""):
            client.publish(topic, properties=properties)
        assert pool.topics == {"state"}

    def test_a_thread_that_runs_the_loop_by_hand_goes_on_as_the_loan_ends(
        self, pool, session_mqtt_broker
    ):
        with ThreadPoolExecutor() as threads:
            for _ in range(100):
                over = threading.Event()
                with pool.lending():
                    client = paho_client()
                    client.connect(session_mqtt_broker.host, session_mqtt_broker.port)
                    thread = threads.submit(_loop_by_hand, client, over)
                    for number in range(10):  # each of which wakes the loop
                        client.publish("t", number)
                over.set()
                thread.result(timeout=10)

    def test_a_connection_that_is_made_as_the_loan_ends_ends_too(self, pool):
        held = HeldConnections()
        with held.active():
            with pool.lending():
                client = paho_client(client_id="late")
                client.connect_async(NOWHERE, 1883)
                thread = threading.Thread(target=client.loop_forever, daemon=True)
                thread.start()
                assert held.reached.wait(10)
            held.go_on.set()
            thread.join(10)
        assert not thread.is_alive()
        assert not client.is_connected()

    def test_lends_to_many_threads(self, pool):
        def use(number):
            client = pool.acquire()
            inbox = Inbox(client)
            subscribe(client, f"thread/{number}", 1)
            client.publish(f"thread/{number}", qos=1)
            inbox.wait_for(f"thread/{number}")
            pool.release(client)
            return client

        with ThreadPoolExecutor(16) as threads:
            clients = list(threads.map(use, range(100)))
        assert len(set(map(id, clients))) == 100
        assert pool.ref_count == 0

    def test_gives_barriers_while_others_go_back(self, pool):
        def use(number):
            for _ in range(40):
                client = pool.acquire()
                client.publish(f"thread/{number}", qos=1)
                pool.barrier()
                pool.release(client)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(use, range(8)))
        assert pool.ref_count == 0

    def test_does_not_take_the_barriers_of_another_pool_for_its_own(
        self, session_mqtt_broker, pool
    ):
        pool.barrier()
        with SharedMQTTPool(session_mqtt_broker.get_connection_params()) as other:
            for _ in range(300):
                other.barrier()
        monitor, client = MQTTMonitor(pool), pool.acquire()
        for number in range(100):
            client.publish("number", str(number))
            pool.barrier()
            assert monitor.messages[-1].payload == str(number).encode()
        pool.release(client)

    def test_takes_back_only_what_it_has_lent(self, pool):
        client = pool.acquire()
        pool.release(client)
        with pytest.raises(ValueError, match="not on loan"):
            pool.release(client)
        with pytest.raises(ValueError, match="not on loan"):
            pool.release(paho_client())

    def test_closing_takes_everything_back(self, session_mqtt_broker):
        pool = SharedMQTTPool(session_mqtt_broker.get_connection_params())
        client = pool.acquire()
        pool.close()
        pool.close()
        assert not client.is_connected()
        assert pool.ref_count == 0
        with pytest.raises(BrokerError, match="closed"):
            pool.acquire()

    def test_takes_back_a_client_that_has_much_left_to_send(self, pool):
        pool.barrier()
        client = pool.acquire()
        client.loop_stop()
        client.publish("large", bytes(20_000_000))
        pool.release(client)
        pool.barrier()
        assert [m.topic for m in pool.history.since(0)[0]] == ["large"]

    def test_takes_back_a_client_whose_event_loop_is_closed(self, session_mqtt_broker, pool):
        pool.watch()
        with pool.lending():
            client = paho_client()
            client.will_set("will", "lost")
            asyncio.run(_connect_by_event_loop(client, session_mqtt_broker))
            pool.barrier()
        pool.barrier()
        assert [message.topic for message in pool.history.since(0)[0]] == ["hello"]
        assert client.socket() is None

    def test_gives_barriers_though_the_event_loop_of_an_outsider_is_closed(
        self, session_mqtt_broker, pool
    ):
        client = paho_client()
        asyncio.run(_connect_by_event_loop(client, session_mqtt_broker))
        client.on_socket_close = None
        pool.barrier()
        client.on_socket_register_write = client.on_socket_unregister_write = None
        client.disconnect()

    def test_cuts_off_a_client_that_is_kept_in_a_callback(
        self, session_mqtt_broker, pool, monkeypatch
    ):
        monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 0.3)
        monkeypatch.setattr(
            "mqtt_testing.clients.pool.end_client", partial(end_client, timeout=0.3)
        )
        pool.watch()
        in_callback, go_on = threading.Event(), threading.Event()
        with pool.lending():
            client = paho_client(client_id="kept", clean_session=False)
            client.will_set("will", "lost")
            client.on_message = lambda *_args: (in_callback.set(), go_on.wait(10))
            client.on_socket_close = lambda *_args: None
            client.connect(session_mqtt_broker.host, session_mqtt_broker.port)
            client.loop_start()
            subscribe(client, "t")
            client.publish("t")
            assert in_callback.wait(10)
            network_loop = client._thread
            with pytest.raises(MQTTConnectionError, match="client kept is kept in a callback"):
                pool.barrier()
            with pytest.raises(TimeoutError, match="blocked in a callback"):
                pool.release(client)
        with connected(session_mqtt_broker, client_id="kept", clean_session=False) as again:
            assert not again.session_present
        pool.barrier()
        assert [message.topic for message in pool.history.since(0)[0]] == ["t"]
        go_on.set()
        network_loop.join(10)
        assert not network_loop.is_alive()

    def test_takes_any_subclass_that_paho_takes(self, session_mqtt_broker, pool):
        class Device(mqtt.Client):
            is_connected = False

            def on_connect(self, *_args):
                self.is_connected = True

            def disconnect(self):
                return super().disconnect()

        with pool.lending():
            pool.watch()
            client = new_client(Device)
            client.connect(session_mqtt_broker.host, session_mqtt_broker.port)
            client.loop_start()
            assert wait_until(lambda: client.is_connected)
            client.publish("t")
            pool.barrier()
        assert [message.topic for message in pool.history.since(0)[0]] == ["t"]


@pytest.mark.slow
def test_a_thousand_loans_leave_nothing(pool):
    def resources():
        gc.collect()
        descriptors = Path("/proc/self/fd")
        return threading.active_count(), descriptors.exists() and len([*descriptors.iterdir()])

    pool.release(pool.acquire())
    before = resources()
    for _ in range(1000):
        pool.release(pool.acquire())
    assert resources() == before
