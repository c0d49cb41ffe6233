"""Clients made in modules, helpers and test cases: led to brokers of the tests from conftest on."""

import pytest
from helpers.drop_in import Repository, assert_green_and_silent
from helpers.suite_client import CLIENT

pytestmark = pytest.mark.usefixtures("few_plugins")


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    repository.write("tests/client.py", CLIENT)
    return repository.write(
        "tests/conftest.py",
        """
        from client import connect, new_client
        from mqtt_test_broker import TestMQTTBroker
        from shared_mqtt_pool import LOOPBACK_HOSTS, redirect_to_test_broker

        FURTHER = {1885: TestMQTTBroker(), 1886: TestMQTTBroker()}
        redirect_to_test_broker(
            1883,
            1884,
            hosts=[*LOOPBACK_HOSTS, "MQTT.example.invalid", "*.lab.invalid"],
            brokers=FURTHER,
        )
        FROM_CONFTEST = connect(new_client("conftest"))
        """,
    )


def test_it_is_in_force_from_conftest_on(repository):
    """C1 and C5: during collection, too; on the broker of the fixtures, and on others by port."""
    repository.write(
        "tests/test_it.py",
        """
        import pytest, unittest
        import conftest
        from client import connect, new_client

        MODULE = connect(new_client("module"))

        def port_of(client):
            return client.socket().getpeername()[1]

        def port_at(port, host="localhost"):
            client = connect(new_client(), host, port)
            found = port_of(client)
            client.disconnect()
            client.loop_stop()
            return found

        class TestClass(unittest.TestCase):
            CLIENT = connect(new_client("class"))

            def test_it(self):
                assert self.CLIENT.is_connected() and MODULE.is_connected()

        def test_the_broker_is_that_of_the_fixtures(session_mqtt_broker, mqtt_monitor):
            clients = MODULE, TestClass.CLIENT, conftest.FROM_CONFTEST
            assert {port_of(client) for client in clients} == {session_mqtt_broker.port}
            MODULE.publish("hello")
            mqtt_monitor.wait_for("hello")

        @pytest.mark.parametrize("host", [
            "localhost", "LocalHost", "localhost.", "mqtt.localhost", "127.0.0.1", "127.1.2.3",
            "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "0.0.0.0", "ip6-localhost",
            "mqtt.example.invalid", "one.lab.invalid",
        ])
        def test_hosts(host, session_mqtt_broker):
            assert port_at(1883, host) == session_mqtt_broker.port

        def test_ports(session_mqtt_broker):
            assert port_at(1884) == port_at(1883) == session_mqtt_broker.port
            found = {port_at(port) for port in (1883, 1885, 1886, 1885)}
            assert len(found) == 3 and not found & {1883, 1884, 1885, 1886}

        def test_a_broker_that_a_test_ends_is_there_in_the_next(test_mqtt_broker):
            test_mqtt_broker.kill()
            with pytest.raises(ConnectionRefusedError):
                new_client().connect("localhost", 1883)

        def test_by_then():
            assert port_at(1883) and port_at(1885)

        def test_further_brokers_that_a_test_ends():
            conftest.FURTHER[1885].stop()
            with pytest.raises(ConnectionRefusedError):
                new_client().connect("localhost", 1885)

        def test_are_there_in_the_next():
            assert port_at(1885)
        """,
    )
    assert_green_and_silent(repository.run("-W", "error", "-p", "no:randomly"), passed=20)


def test_other_hosts_are_left_alone_and_named(repository):
    """C2."""
    repository.write(
        "tests/test_it.py",
        """
        import pytest, socket
        from client import connect, new_client

        @pytest.mark.parametrize("host", ["192.0.2.1", "no.such.invalid", "example.invalid"])
        @pytest.mark.parametrize("n", range(4))
        def test_it(host, n, monkeypatch):
            lookup = socket.getaddrinfo
            def without_dns(asked, *args, **kwargs):
                if asked.endswith("invalid"):
                    raise socket.gaierror(-2, "no such host")
                return lookup(asked, *args, **kwargs)
            monkeypatch.setattr(socket, "getaddrinfo", without_dns)
            def connect(self, address):
                raise TimeoutError  # nothing answers there
            monkeypatch.setattr(socket.socket, "connect", connect)
            with pytest.raises(OSError):
                new_client().connect(host, 1883)

        def test_other_ports(session_mqtt_broker):
            with pytest.raises(OSError), socket.socket() as dead:
                dead.bind(("127.0.0.1", 0))
                new_client().connect("localhost", dead.getsockname()[1])
        """,
    )
    result = repository.run("-W", "error")
    result.assert_outcomes(passed=13)
    result.stdout.fnmatch_lines_random(
        [
            "*MQTT connections that were not redirected*",
            "192.0.2.1:1883 is not among *: tests/*[[]0-192.0.2.1*; and 1 more",
            "no.such.invalid:1883 is not among *",
        ]
    )
    assert result.stdout.str().count("is not among") == 3


def test_a_marked_test_finds_nobody(repository):
    """C5: at the ports that the marker names, or at all; wider fixtures find a broker."""
    repository.write(
        "tests/test_it.py",
        """
        import pytest, threading, unittest
        from client import connect, new_client

        def is_refused(port):
            client = new_client()
            try:
                client.connect("localhost", port)
            except ConnectionRefusedError:
                return True
            client.disconnect()
            return False

        def refused():
            return [port for port in (1883, 1884, 1885, 1886) if is_refused(port)]

        class TestClass(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.client = connect(new_client())

            @pytest.mark.no_mqtt_broker(1883, 1885)
            def test_a(self):
                assert refused() == [1883, 1885]
                assert self.client.is_connected()

            def test_b(self):
                assert refused() == []

            @classmethod
            def tearDownClass(cls):
                cls.client.disconnect()
                cls.client.loop_stop()
                assert refused() == []

        class TestMarkedAlone(unittest.TestCase):
            @pytest.mark.no_mqtt_broker
            def test_it(self):
                assert len(refused()) == 4

            @classmethod
            def tearDownClass(cls):
                assert refused() == []

        @pytest.fixture
        def service():
            return refused()

        @pytest.mark.no_mqtt_broker
        def test_nowhere(service):
            assert service == [1883, 1884, 1885, 1886]

        def test_everywhere(service):
            assert service == []

        @pytest.mark.no_mqtt_broker
        class TestNobody:
            @pytest.mark.no_mqtt_broker(1886)
            def test_markers_add_up(self):
                assert refused() == [1883, 1884, 1885, 1886]

        @pytest.mark.no_mqtt_broker(1883)
        def test_a_client_comes_in_later(request):
            client, failed = new_client(), threading.Event()
            client.on_connect_fail = lambda *args: failed.set()
            client.connect_async("localhost", 1883)
            client.loop_start()
            assert failed.wait(5)
            client.disconnect()
            client.loop_stop()
        """,
    )
    result = repository.run("-W", "error", "--strict-markers")
    assert_green_and_silent(result, passed=7)


def test_what_wakes_a_network_loop_outlives_it(repository):
    """Its owner may be about to use it, in disconnect() for example."""
    repository.write(
        "tests/test_it.py",
        """
        import gc, threading
        from client import new_client

        def test_it():
            client, connected = new_client("quick"), threading.Event()
            client.on_connect = lambda *args: connected.set()
            client.connect("localhost", 1883)
            loop = threading.Thread(target=client.loop_forever)
            loop.start()
            assert connected.wait(5)
            wake_up = client._sockpairW
            client.disconnect()
            loop.join(5)
            wake_up.send(b"0")
            del wake_up
            client.loop_start()  # paho forgets the old pair
            client.loop_stop()
            gc.collect()
        """,
    )
    assert_green_and_silent(repository.run("-W", "error"), passed=1)


def test_a_network_loop_that_runs_connects_at_once(repository):
    """C3: whatever has it connect, and with no second connection after it."""
    repository.write(
        "tests/test_it.py",
        """
        import pytest, threading, time
        import paho.mqtt.client as mqtt
        from client import new_client

        def loop_start(client):
            client.loop_start()

        def loop_forever(client):
            threading.Thread(target=client.loop_forever, daemon=True).start()

        @pytest.mark.parametrize("before", [0, 0.1])
        @pytest.mark.parametrize("method", ["connect", "connect_async"])
        @pytest.mark.parametrize("loop", [loop_start, loop_forever])
        def test_it(before, method, loop, session_mqtt_broker):
            client, connected = new_client("quick"), threading.Semaphore(0)
            client.on_connect = lambda *args: connected.release()
            loop(client)
            threading.Event().wait(before)  # it is in its pause by then, or not
            position, start = session_mqtt_broker.log_position, time.perf_counter()
            getattr(client, method)("localhost", 1883)
            assert connected.acquire(timeout=5)
            assert time.perf_counter() - start < 0.5
            # loop_forever() cannot be woken; with paho 1.6 connect_async() waits for a loss.
            again = loop is loop_start and (method == "connect" or hasattr(mqtt, "MQTTErrorCode"))
            if again:
                getattr(client, method)("localhost", 1884)
                assert connected.acquire(timeout=5)
                assert time.perf_counter() - start < 0.5
            client.disconnect()
            client.loop_stop()
            connections = session_mqtt_broker.log_since(position).count(" as quick ")
            assert connections == 1 + again

        @pytest.mark.parametrize("method", ["connect_async", "connect", "reconnect"])
        def test_a_loss_is_followed_by_the_pause_of_paho(test_mqtt_broker, method):
            client, connected = new_client("slow"), threading.Semaphore(0)
            client.on_connect = lambda *args: connected.release()
            client.loop_start()
            client.connect_async("localhost", 1883)
            assert connected.acquire(timeout=5)
            if method != "connect_async":
                arguments = ("localhost", 1883) if method == "connect" else ()
                getattr(client, method)(*arguments)
                assert connected.acquire(timeout=5)
            start = time.perf_counter()
            test_mqtt_broker.disconnect_clients("slow")
            assert connected.acquire(timeout=5)
            assert time.perf_counter() - start > 0.8
            client.disconnect()
            client.loop_stop()
        """,
    )
    assert_green_and_silent(repository.run("-W", "error"), passed=11)


def test_clients_that_are_left_are_grouped_by_where_they_were_made(repository):
    """C6."""
    repository.write(
        "tests/test_it.py",
        """
        import pytest
        from client import connect, new_client
        from shared_mqtt_pool import prompt_mqtt_clients

        @pytest.fixture(scope="session", autouse=True)
        def everywhere(prompt_mqtt_clients): pass

        @pytest.mark.parametrize("n", range(12))
        def test_it(n): connect(new_client(f"number-{n}"))

        def test_another():
            import paho.mqtt.client as mqtt
            versions = getattr(mqtt, "CallbackAPIVersion", None)
            connect(mqtt.Client(*([versions.VERSION2] if versions else []), client_id="another"))
        """,
    )
    for options in ([], ["-p", "xdist", "-n", "2"]):
        result = repository.run("-W", "error", *options)
        result.assert_outcomes(passed=13)
        assert result.stdout.str().count("made at tests") == 2
        result.stdout.fnmatch_lines_random(
            [
                "*MQTT clients left running*",
                "made at tests*client.py:*: call disconnect() and *: client number-*; and 9 more",
                "made at tests*test_it.py:15: *: client another of tests*::test_another",
            ]
        )


def test_a_plain_function_waits_for_what_was_published(repository):
    """C7: published, arrived, handled; and what is published as it is handled."""
    repository.write(
        "tests/test_it.py",
        """
        import asyncio, threading, unittest
        import pytest
        from client import connect, new_client
        from shared_mqtt_pool import settle_mqtt_clients

        def listener(topic, handle, port=1883, qos=0, client_id=""):
            client = new_client(client_id)
            client.on_connect = lambda c, *args: c.subscribe(topic, qos)
            client.on_message = handle
            client.connect("localhost", port)
            client.loop_start()
            return client

        class TestChain(unittest.TestCase):
            def setUp(self):
                self.clients, self.got = [], []
                self.sender = self.add(connect(new_client()))

            def add(self, client):
                self.clients.append(client)
                self.addCleanup(client.loop_stop)
                self.addCleanup(client.disconnect)
                return client

            def test_relays(self):
                for n in range(5):
                    relay = lambda c, u, m, n=n: c.publish(f"relay/{n + 1}", m.payload, n % 3)
                    self.add(listener(f"relay/{n}", relay, qos=n % 3))
                last = lambda c, u, m: (threading.Event().wait(0.01), self.got.append(m.payload))
                self.add(listener("relay/5", last))
                settle_mqtt_clients()
                for round in range(3):
                    for n in range(40):
                        self.sender.publish("relay/0", str(n), qos=n % 3)
                    settle_mqtt_clients()
                    assert len(self.got) == 40 * (round + 1)

            def test_more_than_are_in_flight_at_a_time(self):
                count = lambda c, u, m: self.got.append(m.payload)
                self.add(listener("many", count, qos=1))
                self.add(listener("many", count, qos=2))
                settle_mqtt_clients()
                for n in range(500):
                    self.sender.publish("many", str(n), qos=2)
                settle_mqtt_clients(timeout=30)
                assert len(self.got) == 1000

            def test_two_brokers(self):
                there = self.add(connect(new_client(), port=1885))
                over = lambda c, u, m: there.publish("over", m.payload)
                self.add(listener("bridge", over))
                self.add(listener("over", lambda c, u, m: self.got.append(1), 1885))
                settle_mqtt_clients()
                self.sender.publish("bridge")
                settle_mqtt_clients()
                assert self.got == [1]

            def test_clients_that_are_about_to_connect(self):
                client = self.add(new_client())
                client.on_connect = lambda c, *args: c.publish("hello")
                client.on_pre_connect = lambda *args: threading.Event().wait(0.1)  # paho 2
                self.add(listener("hello", lambda c, u, m: self.got.append(1)))
                settle_mqtt_clients()
                client.connect_async("localhost", 1883)
                client.loop_start()
                settle_mqtt_clients()
                assert self.got == [1]

            def test_one_by_one(self):
                slow = lambda c, u, m: (threading.Event().wait(0.01), self.got.append(1))
                late = lambda c, u, m: (threading.Event().wait(0.01), c.publish("two"))
                for n in range(5):
                    self.add(listener("two", slow))
                    self.add(listener("one", late))
                settle_mqtt_clients()
                for n in range(1, 20):
                    self.sender.publish("one")
                    settle_mqtt_clients()
                    assert len(self.got) == 25 * n

            def test_at_once_from_two_threads(self):
                self.add(listener("both", lambda c, u, m: self.got.append(1)))
                settle_mqtt_clients()
                def publish_and_settle():
                    for n in range(20):
                        self.sender.publish("both")
                        settle_mqtt_clients()
                threads = [threading.Thread(target=publish_and_settle) for n in range(2)]
                for thread in threads: thread.start()
                for thread in threads: thread.join(20)
                assert len(self.got) == 40

            def test_it_leaves_clients_as_they_were(self):
                import socket
                before = dict(vars(self.sender))
                option = socket.IPPROTO_TCP, socket.TCP_NODELAY
                for asked in (0, 1):
                    self.sender.socket().setsockopt(*option, asked)
                    settle_mqtt_clients()
                    assert bool(self.sender.socket().getsockopt(*option)) == asked
                assert set(vars(self.sender)) == set(before)

            def test_nothing_to_wait_for(self):
                self.add(new_client()).loop_start()  # is not told where to
                dead = self.add(listener("x", None, client_id="dead"))
                settle_mqtt_clients()
                dead.disconnect()
                settle_mqtt_clients()

            def test_one_that_does_not_return(self):
                go_on = threading.Event()
                stuck = lambda c, u, m: go_on.wait(10)
                self.add(listener("stuck", stuck, client_id="kept"))
                settle_mqtt_clients()
                self.sender.publish("stuck")
                with pytest.raises(Exception, match="client kept stays in a callback"):
                    settle_mqtt_clients(timeout=0.3)
                go_on.set()
                settle_mqtt_clients()

            def test_in_a_callback(self):
                self.add(listener("other", lambda c, u, m: self.got.append(1)))
                def settle(c, u, m):
                    c.publish("other")
                    settle_mqtt_clients()
                    self.got.append(2)
                self.add(listener("asks", settle))
                settle_mqtt_clients()
                self.sender.publish("asks").wait_for_publish(5)
                deadline = threading.Event()
                while len(self.got) < 2: assert not deadline.wait(0.01)

            def test_no_end(self):
                forever = lambda c, u, m: c.publish(m.topic)
                self.add(listener("ping", forever, client_id="forever"))
                settle_mqtt_clients()
                self.sender.publish("ping")
                with pytest.raises(Exception, match="go on coming for client forever"):
                    settle_mqtt_clients(timeout=0.3)
        """,
    )
    assert_green_and_silent(repository.run("-W", "error"), passed=11)


def test_the_plain_function_says_what_it_cannot(repository):
    repository.write("tests/conftest.py", "from shared_mqtt_pool import settle_mqtt_clients")
    repository.write(
        "tests/test_it.py",
        """
        import pytest
        from shared_mqtt_pool import settle_mqtt_clients

        def test_it():
            with pytest.raises(Exception, match=r"knows no clients: call redirect_to_test_broker"):
                settle_mqtt_clients()
        """,
    )
    assert_green_and_silent(repository.run("-W", "error"), passed=1)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("hosts='localhost'", "hosts is a list of names, not one string: hosts=['localhost']"),
        ("'1883'", "'1883' is no port"),
        ("brokers={0: None}", "0 is no port"),
    ],
)
def test_what_makes_no_sense_is_an_error_at_once(repository, call, error):
    wiring = (
        f"from shared_mqtt_pool import redirect_to_test_broker\nredirect_to_test_broker({call})"
    )
    repository.write("tests/conftest.py", wiring)
    repository.write("tests/test_it.py", "def test_it(): pass")
    result = repository.run()
    assert result.ret != 0
    assert error in result.stdout.str() + result.stderr.str()


def test_the_fixture_takes_hosts_and_brokers_as_well(repository):
    repository.write(
        "tests/conftest.py",
        """
        import pytest
        from mqtt_test_broker import TestMQTTBroker
        from shared_mqtt_pool import redirected_mqtt_clients

        @pytest.fixture(scope="session", autouse=True)
        def everywhere(redirected_mqtt_clients): pass

        @pytest.fixture(scope="session")
        def redirected_mqtt_hosts(): return ["broker.invalid"]

        @pytest.fixture(scope="session")
        def redirected_mqtt_brokers(): return {1885: TestMQTTBroker()}
        """,
    )
    repository.write(
        "tests/test_it.py",
        """
        import pytest
        from client import connect, new_client

        def test_it(session_mqtt_broker):
            one, other = (connect(new_client(), "broker.invalid", port) for port in (1883, 1885))
            assert one.socket().getpeername()[1] == session_mqtt_broker.port
            assert other.socket().getpeername()[1] not in (session_mqtt_broker.port, 1885)
            for client in (one, other):
                client.disconnect()
                client.loop_stop()
        """,
    )
    assert_green_and_silent(repository.run("-W", "error"), passed=1)


def test_what_is_still_connected_at_the_end_is_disconnected_and_not_led_elsewhere(repository):
    repository.write(
        "tests/test_it.py",
        """
        import atexit, threading
        from client import connect, new_client

        ended = threading.Event()
        CLIENT = connect(new_client("module"))
        CLIENT.on_disconnect = lambda *args: print("LOST")

        def test_it():
            atexit.register(lambda: print("AT THE END", CLIENT.is_connected(), CLIENT.socket()))
        """,
    )
    result = repository.run("-W", "error", "-s")
    assert_green_and_silent(result, passed=1)
    result.stdout.fnmatch_lines(["AT THE END False None"])
    result.stdout.no_fnmatch_line("*LOST*")
