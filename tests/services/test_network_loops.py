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


class TestMainMethod:
    """A service whose main method connects, and goes on until the service ends."""

    SERVICE = """
    import threading, time
    from paho.mqtt.client import Client
    from thermostat import ARGUMENTS

    class Bridge:
        def __init__(self):
            self.stopped = threading.Event()
            self.reader = threading.Thread(target=self.read, name="reader")
            self.client = Client(*ARGUMENTS)
            self.client.on_connect = lambda client, *_: client.subscribe("request")
            self.client.on_message = lambda client, _, m: client.publish("reply", m.payload)

        def read(self):
            while not self.stopped.wait(0.01):
                self.client.publish("read")

        def connect(self):
            self.client.connect("mqtt.example.invalid", 1883)

        def run(self):
            self.connect()
            self.reader.start()
            self.client.loop_forever()

        def stop(self):
            self.stopped.set()
            self.client.disconnect()
            if self.reader.ident is not None:
                self.reader.join(5)

    class ConnectsLater(Bridge):
        def connect(self):
            time.sleep(0.2)
            self.client.connect_async("mqtt.example.invalid", 1883)

    class ByHand(Bridge):
        def run(self):
            self.connect()
            while not self.stopped.is_set():
                self.client.loop()

    class SubscribesLater(Bridge):
        def run(self):
            connected = threading.Event()
            self.client.on_connect = lambda *_: connected.set()
            self.connect()
            self.client.loop_start()
            connected.wait(5)
            self.client.subscribe("request")
            self.stopped.wait()

    class GoesOnForEver(Bridge):
        def stop(self):
            pass

    class BuiltByItsLoop(Bridge):
        def __init__(self):
            super().__init__()
            self.run()

    class Fails(Bridge):
        def connect(self):
            raise LookupError("no such port")

    class Returns(Bridge):
        def run(self):
            self.connect()

    def build(): return Bridge()
"""
    KINDS = ("Bridge", "ConnectsLater", "ByHand", "SubscribesLater", "GoesOnForEver")

    def write(self, repository, kind, options, test):
        repository.write("bridge.py", self.SERVICE)
        repository.write(
            "tests/conftest.py",
            f"""
            import bridge as bridges
            from optimized_service_fixture import service_fixture
            from shared_mqtt_pool import mqtt_client, mqtt_monitor

            bridge = service_fixture(bridges.{kind}, {options})
            """,
        )
        repository.write("tests/test_it.py", test)

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_runs_in_a_thread_and_listens(self, repository, kind):
        self.write(
            repository,
            kind,
            "run='run'",
            """
    import pytest

    @pytest.mark.parametrize("n", range(10))
    def test_it(bridge, mqtt_client, mqtt_monitor, n):
        mqtt_client.publish("request")
        mqtt_monitor.wait_for("reply")
        mqtt_monitor.assert_none("read")  # its thread is held
        bridge.test_enable_background_tasks()
        if bridge.reader.ident is not None:
            mqtt_monitor.wait_for("read")
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=10)

    @pytest.mark.parametrize(
        ("kind", "options", "error"),
        [
            ("Bridge", "start='run'", "*run='run') in place of start='run' lets*in a thread"),
            ("BuiltByItsLoop", "", "the service called loop_forever() as it was built*"),
            ("Returns", "run='run'", "run() has returned: name it start*"),
            ("Fails", "run='run'", "E*LookupError: no such port"),
        ],
    )
    def test_what_goes_wrong_is_said_at_once(self, repository, kind, options, error):
        self.write(repository, kind, options, "def test_it(bridge): pass")
        result = repository.run("-W", "error", timeout=30)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([error])

    def test_beside_an_event_loop(self, repository):
        self.write(
            repository,
            "Bridge",
            "run='run'",
            """
    import asyncio
    from bridge import Bridge

    def test_it(bridge, mqtt_client, mqtt_monitor):
        async def ask():
            mqtt_client.publish("request")
            await mqtt_monitor.wait_for("reply")
        asyncio.run(ask())
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=1)

    def test_a_function_has_to_say_what_it_builds(self, repository):
        self.write(
            repository,
            "build",
            "run='run'",
            """
    import asyncio

    def test_it(bridge):
        async def enter():
            async with bridge:
                pass
        asyncio.run(enter())
            """,
        )
        result = repository.run("-W", "error", timeout=30)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*ServiceFixtureError: run names 'run'*(`-> Service`)"])
