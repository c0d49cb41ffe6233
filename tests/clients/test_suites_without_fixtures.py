"""Suites whose tests and services make their clients themselves."""

import pytest
from helpers.drop_in import Repository, assert_nothing_left
from helpers.suite_client import CLIENT


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

    def test_the_address_of_a_broker_that_the_tests_start_means_that_one(self, repository):
        repository.write(
            "tests/test_it.py",
            CLIENT
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

    def test_only_clients_on_loan_get_another_socket_option(self, repository):
        repository.write(
            "tests/test_it.py",
            CLIENT
            + """
        import socket
        from shared_mqtt_pool import mqtt_client, mqtt_monitor

        def sends_at_once(client):
            return client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

        def test_it(mqtt_client, mqtt_monitor):
            assert sends_at_once(mqtt_client)
            assert not sends_at_once(connect(new_client(), "localhost", 1883))
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("end", ["kill", "stop"])
    @pytest.mark.slow
    def test_and_goes_on_to_mean_it_for_its_clients(self, repository, end):
        repository.write(
            "tests/test_it.py",
            CLIENT
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
            CLIENT
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
            CLIENT
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
            [
                "*MQTT clients left running*",
                "made at tests*: call disconnect() *: client forgotten of tests*::test_one",
            ]
        )

    @pytest.mark.parametrize("left", ["loop_forever in a thread", "no loop"])
    def test_so_are_those_that_are_left_connected(self, repository, left):
        repository.write(
            "tests/test_it.py",
            CLIENT
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
            [
                "*MQTT clients left running*",
                "made at tests*: call disconnect() *: client forgotten of tests*::test_one",
            ]
        )

    def test_so_are_those_that_the_last_test_leaves_in_loop_forever(self, repository):
        """By then the broker is gone, and the client tries to find it again for ever."""
        repository.write(
            "tests/test_it.py",
            CLIENT
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
            CLIENT + "    def test_one(): connect(new_client('forgotten'))\n",
        )
        result = repository.run("-W", "error", "-p", "xdist", "-n", "2")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["made at tests*: client forgotten of tests*::test_one"])

    def test_a_test_may_leak_on_purpose(self, repository):
        repository.write(
            "tests/test_it.py",
            CLIENT
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
            CLIENT
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
            CLIENT
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
        result.stdout.fnmatch_lines(["made at tests*: client anew of tests*::test_one"])

    def test_other_ports_are_left_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            CLIENT
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
    def test_a_loop_stopped_before_the_disconnect_does_not_wait_for_its_second(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
        repository.write(
            "tests/test_it.py",
            CLIENT
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
