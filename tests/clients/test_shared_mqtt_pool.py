import asyncio
import gc
import os
import queue
import signal
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from helpers.clients import connected, paho_client
from helpers.drop_in import Repository, assert_nothing_left, few_plugins  # noqa: F401
from helpers.processes import wait_until
from mqtt_test_broker import BrokerError, TestMQTTBroker
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.publish import single
from shared_mqtt_pool import (
    ClientScope,
    MQTTConnectionError,
    MQTTMessage,
    MQTTMonitor,
    SharedMQTTPool,
    _ObservingClient,
    end_client,
    new_client,
)

NOWHERE = "192.0.2.1"  # an address that is reserved for documentation


@pytest.fixture
def pool(session_mqtt_broker):
    with SharedMQTTPool(session_mqtt_broker.get_connection_params()) as pool:
        yield pool


class Inbox:
    """What a client's on_message was given."""

    def __init__(self, client):
        self._changed = threading.Condition()
        self.messages = []
        client.on_message = self._on_message

    def _on_message(self, _client, _userdata, message):
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    @property
    def topics(self):
        return [message.topic for message in self.messages]

    def wait_for(self, topic):
        with self._changed:
            came = self._changed.wait_for(lambda: topic in self.topics, 10)
        assert came, f"waited for {topic}, there came {self.topics}"


def subscribe(client, topic_filter, qos=0):
    granted = threading.Event()
    client.on_subscribe = lambda *_args: granted.set()
    client.subscribe(topic_filter, qos)
    assert granted.wait(10), f"no SUBACK for {topic_filter}"


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


class HeldConnections(ClientScope):
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
                assert pool.observer

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

    def test_leaves_the_session_to_an_outsider_that_has_taken_it_over(
        self, session_mqtt_broker, pool
    ):
        client = pool.acquire(client_id="shared", clean_session=False)
        client.disconnect()
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
            client = new_client(_ObservingClient, protocol=mqtt.MQTTv5)
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
            observer, busy, go_on = pool.observer, threading.Event(), threading.Event()
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
        monkeypatch.setattr("shared_mqtt_pool.TIMEOUT", 3600)
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            pool.broker_died = broker.died
            observer = pool.observer
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
        monkeypatch.setattr("shared_mqtt_pool.TIMEOUT", 1)
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
        monkeypatch.setattr("shared_mqtt_pool.TIMEOUT", 0.3)
        monkeypatch.setattr("shared_mqtt_pool.end_client", partial(end_client, timeout=0.3))
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
        assert rich == MQTTMessage(topic, payload, qos, retain=True)
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
        monkeypatch.setattr("shared_mqtt_pool.HISTORY_LENGTH", 10)
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
                return {m.topic: m.payload for m in pool.observer.retained.values()}

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
        before = pool.observer.know_retained()
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
                assert shared_mqtt_pool.observer.know_retained() == {}
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
                assert set(shared_mqtt_pool.observer.know_retained()) == {{"kept"}}
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

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


@pytest.mark.usefixtures("few_plugins")
class TestSuitesWithoutFixtures:
    @pytest.fixture
    def repository(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
        return repository.write(
            "tests/conftest.py",
            """
            import pytest
            from shared_mqtt_pool import prompt_mqtt_clients, redirected_mqtt_clients

            @pytest.fixture(scope="session", autouse=True)
            def everywhere(prompt_mqtt_clients, redirected_mqtt_clients): pass
            """,
        )

    CLIENT = """
        import sys, time, unittest
        import paho.mqtt.client as mqtt

        def new_client(client_id=""):
            import paho.mqtt.client as mqtt
            if hasattr(mqtt, "CallbackAPIVersion"):
                return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id)
            return mqtt.Client(client_id)

        def connect(client, host="broker.example.invalid", port=1883):
            client.connect(host, port)
            client.loop_start()
            deadline = time.monotonic() + 5
            while not client.is_connected():
                assert time.monotonic() < deadline
            return client

    """

    def test_the_address_of_a_broker_that_the_tests_start_means_that_one(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        import pytest
        from mqtt_test_broker import TestMQTTBroker

        PORTS = []

        @pytest.fixture(scope="session")
        def redirected_mqtt_ports(): return PORTS

        def test_it():
            with TestMQTTBroker() as own:
                PORTS.append(own.port)
                client = connect(new_client("visitor"), "localhost", own.port)
                assert "as visitor" in own.log
                client.disconnect()
                client.loop_stop()
            client = connect(new_client(), "localhost", own.port)  # there is none any more
            client.disconnect()
            client.loop_stop()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_and_goes_on_to_mean_it_for_its_clients(self, repository, end):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + f"""
        import threading
        from mqtt_test_broker import TestMQTTBroker

        def test_it(session_mqtt_broker):
            broker = TestMQTTBroker().start()
            connected, refused = threading.Semaphore(0), threading.Event()
            client = new_client()
            client.on_connect = lambda *args: connected.release()
            client.on_connect_fail = lambda *args: refused.set()
            client.connect("LOCALHOST", broker.port)
            client.loop_start()
            assert connected.acquire(timeout=10)
            broker.{end}()
            assert refused.wait(10)
            broker.start()
            assert connected.acquire(timeout=10)
            assert client.socket().getpeername()[1] == broker.port
            client.disconnect()
            client.loop_stop()
            broker.stop()
            """,
        )
        conftest = repository.tests / "conftest.py"
        wiring = "\n@pytest.fixture(scope='session')\ndef redirected_mqtt_ports(): return ALL\n"
        conftest.write_text(conftest.read_text() + wiring + "\nALL = range(65536)\n")
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_every_copy_of_paho_is_reached_whenever_it_was_imported(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import sys
            from unittest.mock import MagicMock

            copies = []
            for _ in range(2):
                del sys.modules["paho.mqtt.client"]
                import paho.mqtt.client
                copies.append(sys.modules["paho.mqtt.client"])
            sys.modules["paho.mqtt.client"] = MagicMock()

            def test_it(session_mqtt_broker):
                for paho in copies:
                    try:
                        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
                    except AttributeError:
                        client = paho.Client()
                    client.connect("localhost", 1883)
                    assert client.socket().getpeername()[1] == session_mqtt_broker.port
                    client.disconnect()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_one_whose_constructor_somebody_has_wrapped_is_reached_too(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import time
            import paho.mqtt.client as mqtt

            initialise, module_of_time = mqtt.Client.__init__, time
            def with_defaults(self, *args, **kwargs):
                if hasattr(mqtt, "CallbackAPIVersion"):
                    args = (mqtt.CallbackAPIVersion.VERSION2, *args)
                initialise(self, *args, **kwargs)
            mqtt.Client.__init__ = with_defaults

            def test_it(session_mqtt_broker):
                assert time is module_of_time is not mqtt.time
                client = mqtt.Client()
                client.connect("localhost", 1883)
                assert client.socket().getpeername()[1] == session_mqtt_broker.port
                client.disconnect()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_unittest_classes_with_a_hard_coded_broker(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        class Test(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.shared = connect(new_client("shared"))

            def setUp(self):
                self.client = connect(new_client("own"))

            def tearDown(self):
                self.client.loop_stop()
                self.client.disconnect()

            def test_one(self):
                assert self.client.is_connected() and self.shared.is_connected()

            def test_two(self):
                assert self.client.is_connected() and self.shared.is_connected()

            @classmethod
            def tearDownClass(cls):
                cls.shared.loop_stop()
                cls.shared.disconnect()
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=2)

    def test_clients_left_running_are_stopped_and_named(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        clients = []
        def test_one():
            clients.append(connect(new_client("forgotten")))
        def test_two():
            assert not clients[0].is_connected()
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(
            ["*MQTT clients left running*", "*test_it.py::test_one: client forgotten: call *"]
        )

    @pytest.mark.parametrize("left", ["loop_forever in a thread", "no loop"])
    def test_so_are_those_that_are_left_connected(self, repository, left):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + f"""
        import threading

        clients, threads = [], []

        def test_one():
            clients.append(connect(new_client("forgotten")))
            clients[0].loop_stop()
            if {left != "no loop"}:
                threads.append(threading.Thread(target=clients[0].loop_forever))
                threads[0].start()

        def test_two():
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()
            assert clients[0].socket() is None
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(
            ["*MQTT clients left running*", "*test_it.py::test_one: client forgotten: call *"]
        )

    def test_so_are_those_that_the_last_test_leaves_in_loop_forever(self, repository):
        """By then the broker is gone, and the client tries to find it again for ever."""
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        import pytest, threading

        @pytest.mark.parametrize("n", range(20))
        def test_it(n):
            client, connected = new_client("forgotten"), threading.Event()
            client.on_connect = lambda *_args: connected.set()
            client.connect("localhost", 1883)
            threading.Thread(target=client.loop_forever).start()
            assert connected.wait(10)
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=20)
        assert result.stderr.str() == ""

    def test_so_they_are_under_xdist(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT + "    def test_one(): connect(new_client('forgotten'))\n",
        )
        result = repository.run("-W", "error", "-p", "xdist", "-n", "2")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*test_one: client forgotten: call *"])

    def test_a_test_may_leak_on_purpose(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        import pytest
        clients = []
        @pytest.mark.leaks_on_purpose
        def test_one():
            clients.append(connect(new_client("kept")))
        def test_two():
            assert clients[0].is_connected()
            """,
        )
        assert_nothing_left(repository.run("-W", "error", "--strict-markers"), passed=2)

    def test_another_copy_of_paho_is_reached_as_well(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        def test_one():
            first = sys.modules.pop("paho.mqtt.client")
            client = connect(new_client("anew"))
            assert not isinstance(client, first.Client)
            client.loop_stop()
            client.disconnect()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_so_is_paho_when_it_is_loaded_again(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        import importlib
        import paho.mqtt.client as mqtt

        def test_one():
            client_class = mqtt.Client
            importlib.reload(mqtt)
            assert mqtt.Client is not client_class
            connect(mqtt.Client(*mqtt_arguments(mqtt), client_id="anew"))

        def mqtt_arguments(mqtt):
            versions = getattr(mqtt, "CallbackAPIVersion", None)
            return [versions.VERSION2] if versions else []
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*test_one: client anew: call *"])

    def test_other_ports_are_left_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            self.CLIENT
            + """
        import pytest, socket
        def test_one():
            with socket.socket() as dead:
                dead.bind(("127.0.0.1", 0))
                with pytest.raises(ConnectionRefusedError):
                    new_client().connect("127.0.0.1", dead.getsockname()[1])
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)


@pytest.mark.usefixtures("few_plugins")
class TestPromptness:
    """Ratios of what was measured in the same run, never seconds."""

    def test_a_loop_stopped_before_the_disconnect_does_not_wait_for_its_second(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
        repository.write(
            "tests/test_it.py",
            TestSuitesWithoutFixtures.CLIENT
            + """
        from mqtt_test_broker import TestMQTTBroker
        from shared_mqtt_pool import SharedMQTTPool

        def seconds_to_stop(broker):
            client = connect(new_client(), broker.host, broker.port)
            start = time.perf_counter()
            client.loop_stop()
            end = time.perf_counter()
            client.disconnect()
            return end - start

        def test_it():
            with TestMQTTBroker() as broker:
                slow = max(seconds_to_stop(broker) for _ in range(3))
                with SharedMQTTPool(broker.get_connection_params()):
                    prompt = sorted(seconds_to_stop(broker) for _ in range(5))[2]
            assert prompt * 20 < slow
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

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


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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
