import pytest
from helpers.drop_in import assert_nothing_left

pytestmark = pytest.mark.usefixtures("few_plugins")


class TestNetworkLoops:
    """A service may run the network loop of its client in a thread of its own."""

    SERVICE = """
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from paho.mqtt.client import Client

    try:
        from paho.mqtt.client import CallbackAPIVersion
        ARGUMENTS = [CallbackAPIVersion.VERSION2]
    except ImportError:
        ARGUMENTS = []

    class Echo:
        def __init__(self):
            self.active = True
            self.client = Client(*ARGUMENTS)
            self.client.on_connect = lambda client, *_: client.subscribe("request")
            self.client.on_message = lambda client, _, m: client.publish("reply", m.payload)
            self.connect()
            self.thread = threading.Thread(target=self._run)
            self.thread.start()

        def connect(self):
            self.client.connect("mqtt.example.invalid", 1883)

        def _run(self):
            self.client.loop_forever()

        def stop(self):
            self.active = False
            self.client.disconnect()
            self.thread.join(5)

    class InTheBackground(Echo):
        pass

    class ConnectingLater(Echo):
        def connect(self):
            self.client.connect_async("mqtt.example.invalid", 1883)

    class ByHand(Echo):
        def _run(self):
            while self.active:
                self.client.loop()

    class Bare(Echo):
        def _run(self):
            raise AssertionError("this is not run")

        def connect(self):
            super().connect()
            threading.Thread(target=self.client.loop_forever).start()

    class OnAnExecutor(Bare):
        def connect(self):
            Echo.connect(self)
            ThreadPoolExecutor(1).submit(self.client.loop_forever)

    class WithAClientOfTheThread(Echo):
        def connect(self):
            pass

        def _run(self):
            client = Client(*ARGUMENTS)
            client.connect("mqtt.example.invalid", 1883)
            client.loop_forever()

    class LeftConnected(Bare):
        def stop(self):
            pass
"""
    KINDS = ("InTheBackground", "ConnectingLater", "ByHand", "Bare", "OnAnExecutor")

    TESTS = """
    import pytest

    @pytest.fixture
    def ask(mqtt_client, mqtt_monitor):
        def ask():
            mqtt_client.publish("request")
            mqtt_monitor.wait_for("reply")
            mqtt_monitor.clear()
        return ask
"""

    @pytest.fixture
    def repository(self, repository):
        repository.write("echo.py", self.SERVICE)
        return repository

    def write_wiring(self, repository, kind):
        repository.write(
            "tests/conftest.py",
            f"""
            import echo
            from optimized_service_fixture import service_fixture
            from shared_mqtt_pool import mqtt_client, mqtt_monitor

            service = service_fixture(echo.{kind})
            """,
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [*KINDS, "LeftConnected"])
    def test_it_is_connected_and_listens_at_rest(self, repository, kind):
        self.write_wiring(repository, kind)
        repository.write(
            "tests/test_it.py",
            self.TESTS
            + """
    @pytest.mark.parametrize("n", range(20))
    def test_it(service, ask, n):
        assert not service.thread.is_alive()
        ask()
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=20)

    @pytest.mark.parametrize("kind", KINDS[:3])
    def test_it_goes_on_by_its_own_thread_and_back(self, repository, kind):
        self.write_wiring(repository, kind)
        repository.write(
            "tests/test_it.py",
            self.TESTS
            + """
    @pytest.mark.parametrize("n", range(10))
    def test_it(service, ask, n):
        for _ in range(2):
            service.test_enable_background_tasks()
            ask()
            ask()
            service.test_disable_background_tasks()
            ask()
        service.test_enable_background_tasks()
        ask()
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=10)

    def test_a_thread_with_a_client_of_its_own_is_ended_at_any_moment(self, repository):
        self.write_wiring(repository, "WithAClientOfTheThread")
        repository.write(
            "tests/test_it.py",
            """
    import pytest

    @pytest.mark.parametrize("n", range(30))
    def test_it(service, n):
        service.test_enable_background_tasks()
        service.test_disable_background_tasks()
            """,
        )
        assert_nothing_left(repository.run(), passed=30)
