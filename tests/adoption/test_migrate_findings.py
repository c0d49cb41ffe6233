"""What `scripts/migrate.py scan` finds, on small repositories.

In the planted texts, a comment `#!kind` says what has to be found in that line; nothing else may.
"""

from pathlib import Path

import pytest
from helpers.drop_in import TESTS

SERVICE = """
import paho.mqtt.client as mqtt

class Thermostat:
    def __init__(self, host):
        self.client = mqtt.Client()
"""

PLANTED = {
    "a wait in a test": """
        import time
        from time import sleep as pause

        def test_sleep(camera_detector):
            time.sleep(2)  #!wait-for-background
            assert len(camera_detector.cameras) > 0

        def test_imported(camera_detector):
            pause(2)  #!wait-for-background
            assert camera_detector.cameras

        def test_poll(camera_detector):
            while not camera_detector.cameras:
                time.sleep(0.1)  #!wait-for-background
            assert camera_detector.cameras

        def test_range(camera_detector):
            for _ in range(50):
                if camera_detector.cameras:
                    break
                time.sleep(0.1)  #!wait-for-background
            assert camera_detector.cameras

        def test_deadline(camera_detector):
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not camera_detector.cameras:
                time.sleep(0.1)  #!wait-for-background
            assert camera_detector.cameras

        def test_nested(camera_detector, network_mocks):
            with network_mocks.broken():
                network_mocks.plug_in("x")
                time.sleep(1)  #!wait-for-background
            found = camera_detector.cameras
            assert found

        class TestIt:
            async def test_async(self, camera_detector):
                import asyncio
                await asyncio.sleep(1)  #!wait-for-background
                assert camera_detector.cameras
        """,
    "a wait by a helper": """
        import time

        def settle(seconds=0.5):
            time.sleep(seconds)  #!wait-for-background

        def wait_for_cameras(detector):
            while not detector.cameras:
                time.sleep(0.1)  #!wait-for-background

        def wait_until(condition):
            while not condition():
                time.sleep(0.1)  #!wait-for-background

        def test_one(camera_detector):
            settle()
            assert camera_detector.cameras

        def test_two(camera_detector):
            wait_for_cameras(camera_detector)
            assert camera_detector.cameras

        def test_three(camera_detector):
            wait_until(lambda: camera_detector.cameras)
            assert camera_detector.cameras
        """,
    "a wait for an event that nobody sets": """
        import multiprocessing
        import threading
        from threading import Event
        import unittest

        NEVER = Event()
        SET_ELSEWHERE = Event()

        def pause():
            threading.Event().wait(1)  #!wait-for-background

        def test_of_no_name(camera_detector):
            threading.Event().wait(2)  #!wait-for-background
            assert camera_detector.cameras

        def test_local(camera_detector, seconds):
            never = multiprocessing.Event()
            never.wait(timeout=seconds)  #!wait-for-background
            assert camera_detector.cameras

        def test_global(camera_detector):
            while not NEVER.wait(0.1):  #!wait-for-background
                if camera_detector.cameras:
                    break
            assert camera_detector.cameras

        def test_helper(camera_detector):
            pause()
            assert camera_detector.cameras

        class TestIt:
            never = Event()

            def test_attribute(self, camera_detector):
                assert not self.never.wait(1)  #!wait-for-background
                assert camera_detector.cameras

        def test_set_by_a_callback(camera_detector):
            seen = Event()
            camera_detector.on_camera = lambda camera: seen.set()
            assert seen.wait(5)
            assert camera_detector.cameras

        def test_given_away(camera_detector):
            seen = Event()
            camera_detector.tell(seen)
            seen.wait(5)
            assert camera_detector.cameras

        def test_not_ours_to_know(camera_detector, stopped):
            stopped.wait(5)
            SET_ELSEWHERE.wait(5)
            assert camera_detector.cameras

        def test_no_pause(camera_detector):
            Event().wait(0)
            NEVER.wait()
            assert camera_detector.cameras
        """,
    "a wait in a class in a class": """
        import time

        class TestIt:
            class TestInner:
                def test_inner(self, camera_detector):
                    for _ in range(20):
                        if camera_detector.cameras:
                            break
                        time.sleep(0.2)  #!wait-for-background
                    assert camera_detector.cameras
        """,
    "a wait by a helper in an assertion": """
        import time

        def wait_until(condition, timeout=2):
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                if condition():
                    return True
                time.sleep(0.05)  #!wait-for-background
            return False

        def test_lambda(camera_detector):
            assert wait_until(lambda: camera_detector.cameras)

        def test_result(camera_detector):
            found = wait_until(lambda: camera_detector.cameras)
            assert found

        def test_clock():
            assert wait_until(lambda: time.monotonic() > 1)
        """,
    "a wait for what a mock has seen": """
        import time
        from unittest import mock

        @mock.patch("detect.CameraDetector._run_full_discovery")
        def test_decorated(run, camera_detector):
            time.sleep(1)  #!wait-for-background
            assert run.called

        @mock.patch.object(time, "ctime", str)
        @mock.patch.object(time, "asctime")
        def test_only_one_is_passed(asctime, camera_detector):
            time.sleep(1)  #!wait-for-background
            assert asctime.called

        def test_with(camera_detector):
            with mock.patch("detect.ping") as ping:
                time.sleep(1)  #!wait-for-background
            ping.assert_called_with("192.168.0.2")

        @mock.patch("clock.tick")
        def test_of_no_service(tick):
            time.sleep(1)
            assert tick.called
        """,
    "a wait for messages": """
        import time
        import paho.mqtt.client as mqtt
        import pytest

        everything = []

        def on_message(client, userdata, message):
            everything.append(message)

        @pytest.fixture
        def listener(broker):
            client = mqtt.Client()  #!client-in-fixture
            client.on_message = on_message
            yield client

        def test_module_list(listener):
            time.sleep(1)  #!wait-for-background
            assert everything

        def test_local_list(listener):
            received = []
            listener.on_message = lambda *args: received.append(args)
            listener.publish("a", "b")
            time.sleep(1)  #!wait-for-background
            assert len(received) == 1

        def test_nonlocal(listener):
            arrived = False
            def note(client, userdata, message):
                nonlocal arrived
                arrived = True
            listener.message_callback_add("a/#", note)
            time.sleep(1)  #!wait-for-background
            assert arrived

        def test_mock(listener, mocker):
            callback = mocker.Mock()
            listener.on_message = callback
            time.sleep(1)  #!wait-for-background
            callback.assert_called_once()

        def test_clock(listener):
            began = time.time()
            time.sleep(1)
            assert time.time() > began
        """,
    "unittest": """
        import subprocess
        import time
        import unittest
        from paho.mqtt.client import Client

        def start_broker(port):
            broker = subprocess.Popen(["mosquitto", "-p", str(port)])  #!helper-starts-broker
            time.sleep(1)
            return broker

        class GatewayTest(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.broker = start_broker(18831)
                time.sleep(2)  #!wait-for-background

            def setUp(self):
                self.received = []
                self.client = Client()  #!helper-makes-client
                self.client.on_message = self.on_message
                self.client.connect("localhost", 18831)  #!fixed-port

            def on_message(self, client, userdata, message):
                self.received.append(message)

            def tearDown(self):
                self.client.loop_stop()  #!loop-stop-first
                self.client.disconnect()

            def test_echo(self):
                self.client.publish("a", "b")
                time.sleep(0.5)  #!wait-for-background
                self.assertEqual(len(self.received), 1)

        class OtherTest(GatewayTest):
            def setUp(self):
                self.own = start_broker(18832)

            @classmethod
            def connect(cls):
                return Client()  #!helper-makes-client
        """,
    "brokers": """
        import subprocess, shutil, time
        import pytest
        from mqtt_test_broker import TestMQTTBroker

        MOSQUITTO = shutil.which("mosquitto")

        class Broker:
            def start(self):
                self.process = subprocess.Popen([MOSQUITTO, "-v"])  #!helper-starts-broker

        @pytest.fixture
        def own_class():
            broker = Broker()  #!per-test-broker
            broker.start()
            yield broker

        @pytest.fixture(scope="function")
        def own_process(tmp_path):
            command = ["mosquitto", "-p", "18830"]  #!fixed-port
            yield subprocess.Popen(command)  #!per-test-broker

        @pytest.fixture
        def ours():
            with TestMQTTBroker() as broker:  #!per-test-broker
                yield broker

        @pytest.fixture
        def executable_with_a_name():
            executable = shutil.which("mosquitto")
            yield subprocess.Popen([executable, "-p", "18830"])  #!per-test-broker #!fixed-port

        @pytest.fixture(scope="session")
        def for_all():
            process = subprocess.Popen(["mosquitto"])  #!helper-starts-broker
            time.sleep(1)
            yield process

        def test_its_own():
            subprocess.run(["docker", "run", "eclipse-mosquitto"])  #!per-test-broker

        def test_three_on_purpose():
            with TestMQTTBroker() as a, TestMQTTBroker() as b:
                assert a.port != b.port

        def test_publishing_tool():
            subprocess.run(["mosquitto_pub", "-t", "a", "-m", "b"])
        """,
    "clients and ports": """
        import paho.mqtt.client as paho
        import pytest
        from paho.mqtt import publish
        from http import client as http

        BROKER_PORT = 1883  #!fixed-port
        CLIENT_ID = "tests"
        SETTINGS = {"host": "localhost", "port": 8883}  #!fixed-port

        class Recorder(paho.Client):
            pass

        def make_client(name):
            return paho.Client(client_id=name)  #!helper-makes-client

        @pytest.fixture
        def direct():
            client = paho.Client(V2, "one")  #!client-in-fixture #!fixed-client-id
            client.connect("localhost")  #!fixed-port
            client.connect("localhost", 18830)  #!fixed-port
            yield client
            client.disconnect()
            client.loop_stop()

        @pytest.fixture(scope="module")
        def by_helper():
            return make_client("two")  #!client-in-fixture

        @pytest.fixture
        def subclass():
            return Recorder(client_id=CLIENT_ID)  #!client-in-fixture #!fixed-client-id

        def test_settings(monkeypatch, test_mqtt_broker):
            monkeypatch.setenv("MQTT_PORT", "1883")  #!fixed-port
            publish.single("a", "b", port=1883)  #!fixed-port
            assert parse("mqtt://localhost:1883") == ("localhost", 1883)
            url = "mqtt://localhost:11883"  #!fixed-port
            settings = "listener 1883 localhost"  #!fixed-port
            http.HTTPConnection("localhost", 8080).connect()
            paho.Client(client_id="").connect(test_mqtt_broker.host, test_mqtt_broker.port)
        """,
    "a callback that is registered by a decorator": """
        import time
        import unittest

        import paho.mqtt.client
        from flask_mqtt import Mqtt

        mqtt = Mqtt()
        seen = []

        @mqtt.on_message()
        def handle_everything(client, userdata, message):
            seen.append(message)

        def wait(seconds):
            time.sleep(seconds)  #!wait-for-background

        def test_module_level(app):
            app.go()
            time.sleep(1)  #!wait-for-background
            assert seen

        def test_by_topic(app):
            topics = {}

            @app.client.topic_callback("a/#")
            def on_a(client, userdata, message):
                topics["a"] = message

            time.sleep(1)  #!wait-for-background
            assert topics

        class MqttTest(unittest.TestCase):
            def test_event(self):
                self.connected = False

                @self.client.connect_callback()
                def connected(*args):
                    self.connected = True

                wait(0.5)
                self.assertTrue(self.connected)
        """,
    "what a timer publishes": """
        import asyncio
        import threading
        import time
        from paho.mqtt import publish, subscribe
        from threading import Timer

        def send():
            publish.single("a", "b")

        def send_later():
            time.sleep(1)
            publish.single("a", "b")

        def receive():
            return subscribe.simple("a")

        def test_timer():
            threading.Timer(1, send).start()  #!wait-for-background
            assert subscribe.simple("a").payload == b"b"

        def test_lambda():
            timer = Timer(0.5, lambda: publish.single("a", "b"))  #!wait-for-background
            timer.start()
            assert receive().payload == b"b"

        def test_method(mqtt_client):
            timer = Timer(interval=1, function=mqtt_client.publish)  #!wait-for-background
            timer.start()
            assert subscribe.simple("a")

        def test_thread():
            threading.Thread(target=send_later).start()  #!wait-for-background
            assert subscribe.simple("a")

        def begin_to_send():
            threading.Timer(1, send).start()  #!wait-for-background

        def test_helper():
            begin_to_send()
            assert subscribe.simple("a")

        def test_helper_again():
            begin_to_send()
            assert subscribe.simple("a")

        def test_in_a_thread_at_once():
            threading.Thread(target=send).start()
            assert subscribe.simple("a", retained=True)

        def test_a_timer_for_something_else():
            threading.Timer(5, stop).start()
            assert subscribe.simple("a")
        """,
    "imports": """
        import contextlib
        import pytest

        try:
            from mqtt_test_broker import test_mqtt_broker  #!swallowed-import
        except ImportError:
            test_mqtt_broker = None

        try:
            import tests.shared_mqtt_pool  #!swallowed-import
        except Exception:
            pass

        with contextlib.suppress(ImportError):
            from .camera_detector_optimized_fixture import camera_detector_fast  #!swallowed-import

        try:
            from concurrent_futures_fix import fix_concurrent_futures
        except ImportError:
            from .concurrent_futures_fix import fix_concurrent_futures

        try:
            from concurrent_futures_fix import SafeExecutor
        except ImportError as error:
            raise RuntimeError("copy the modules") from error

        pool = pytest.importorskip("shared_mqtt_pool")  #!swallowed-import
        """,
}


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(repo, text):
    repo.write("tests/test_other.py", "from .test_it import SET_ELSEWHERE\n")
    repo.write("tests/test_it.py", text)
    assert repo.marks() == repo.planted()


def test_a_service_is_known_by_what_it_imports(repo):
    repo.write("src/home/thermostat.py", SERVICE)
    repo.write("src/home/__init__.py", "from .thermostat import Thermostat\n")
    repo.write(
        "tests/conftest.py",
        """
        import time
        import pytest
        from home import Thermostat

        @pytest.fixture
        def heating():
            service = Thermostat("localhost")
            time.sleep(1)  #!wait-for-background
            return service
        """,
    )
    repo.write(
        "tests/unit/test_it.py",
        """
        import time

        def test_it(heating):
            time.sleep(1)  #!wait-for-background
            assert heating.temperature == 20

        def test_clock(heating):
            time.sleep(1)
            assert time.time()
        """,
    )
    assert repo.marks() == repo.planted()


def test_helpers_in_files_of_their_own_are_followed(repo):
    repo.write(
        "tests/helpers/brokers.py",
        """
        import subprocess

        def start(port):
            return subprocess.Popen(["mosquitto", "-p", str(port)])  #!helper-starts-broker
        """,
    )
    repo.write(
        "tests/conftest.py",
        """
        import pytest
        from .helpers import brokers
        from helpers.brokers import start

        @pytest.fixture
        def one():
            return brokers.start(0)  #!per-test-broker

        @pytest.fixture(name="two")
        def fixture_two():
            return start(0)  #!per-test-broker
        """,
    )
    repo.write(
        "tests/test_it.py",
        """
        import time

        def test_it(two):
            time.sleep(1)  #!wait-for-background
            assert two.poll() is None
        """,
    )
    assert repo.marks() == repo.planted()


@pytest.mark.slow
def test_the_original_suite_of_51_tests(repo):
    for path in [TESTS / "test_detect.py", *(TESTS / "helpers").rglob("*.py")]:
        repo.write(f"tests/{path.relative_to(TESTS)}", path.read_bytes())
    scanned = repo.scan()
    for name in ("test_detect.py", "helpers/camera_rounds.py"):
        lines = (TESTS / name).read_text().splitlines()
        found = [f for f in scanned if f.path == Path("tests", name)]
        waits = [f.line for f in found if f.kind == "wait-for-background"]
        assert waits == [n for n, line in enumerate(lines, 1) if "time.sleep(" in line]
    found = [f for f in scanned if f.path.name == "test_detect.py"]
    others = {f.kind for f in found} - {"wait-for-background"}
    assert others == {"per-test-broker", "client-in-fixture", "helper-makes-client"}
    assert repo.fixed() == {}
