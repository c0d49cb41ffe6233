"""What `scripts/migrate.py scan` finds and `fix` rewrites, on small repositories.

In the planted texts, a comment `#!kind` says what has to be found in that line; nothing else may.
"""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TESTS_FOLDER = Path(__file__).resolve().parent.parent
ORDINARY_TESTS = sorted((TESTS_FOLDER / "helpers" / "ordinary_tests").glob("*.txt"))

sys.path.append(str(TESTS_FOLDER.parent / "scripts"))
findings = importlib.import_module("migration.findings")
fixes = importlib.import_module("migration.fixes")
sys.path.pop()


class Repo:
    """A repository of files that were never run."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def scan(self):
        return findings.scan(self.folder)

    def marks(self):
        """What was found, as the comments say it: path, line and kind."""
        return {(str(f.path), f.line, f.kind) for f in self.scan()}

    def planted(self):
        return {
            (str(path.relative_to(self.folder)), number, kind)
            for path in self.folder.rglob("*.py")
            for number, line in enumerate(path.read_text().splitlines(), 1)
            for kind in re.findall(r"#!([a-z-]+)", line)
        }

    def fixed(self):
        return fixes.fixed_sources(self.folder)

    def fix(self):
        for path, text in self.fixed().items():
            (self.folder / path).write_bytes(text.encode())


@pytest.fixture
def repo(tmp_path):
    return Repo(tmp_path)


def fixed(repo, text):
    """The text after a fix; the fix of a fix changes nothing."""
    path = repo.write("tests/test_it.py", text)
    repo.fix()
    assert repo.fixed() == {}
    assert not any(finding.certain for finding in repo.scan())
    return path.read_bytes().decode()


def fixed_body(repo, body, params="camera_detector, mqtt_monitor, mqtt_client, network_mocks"):
    head = f"import time\n\nBEGIN = time.time()\n\n\ndef test_it({params}):\n"
    text = head + indent(dedent(body), "    ")
    after = fixed(repo, text)
    assert after.startswith(head)
    return dedent(after[len(head) :])


# --- no false findings ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ORDINARY_TESTS, ids=lambda path: path.stem)
def test_nothing_is_found_in_ordinary_tests(repo, text):
    repo.write(f"tests/test_{text.stem}.py", text.read_text())
    assert repo.scan() == []
    assert repo.fixed() == {}


def test_nothing_is_found_in_ordinary_tests_of_a_repository_with_mqtt(repo):
    """Next to a conftest with brokers and clients, and importing paho themselves."""
    assert len(ORDINARY_TESTS) >= 20
    repo.write("tests/conftest.py", "from mqtt_test_broker import test_mqtt_broker\n")
    for text in ORDINARY_TESTS:
        if text.stem not in ("websocket", "message_queue"):  # these would be about MQTT then
            lines = "import paho.mqtt.client as mqtt\n" + text.read_text()
            repo.write(f"tests/test_{text.stem}.py", lines)
    assert repo.scan() == []


def test_there_are_twenty_ordinary_tests():
    assert len(ORDINARY_TESTS) >= 20


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(1)\nassert time.time() > 0",
        "time.sleep(0)\nassert camera_detector.cameras",
        "assert camera_detector.cameras\ntime.sleep(1)",
        "def work():\n    time.sleep(1)\nassert camera_detector.cameras",
        "camera_detector.test_run_discovery_once()\nassert camera_detector.cameras",
    ],
)
def test_these_are_no_waits(repo, body):
    text = f"import time\ndef test_it(camera_detector):\n{indent(body, '    ')}\n"
    repo.write("tests/test_it.py", text)
    assert repo.scan() == []


# --- what is planted is found --------------------------------------------------------------------

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
            time.sleep(seconds)

        def wait_for_cameras(detector):
            while not detector.cameras:
                time.sleep(0.1)  #!wait-for-background

        def wait_until(condition):
            while not condition():
                time.sleep(0.1)  #!wait-for-background

        def test_one(camera_detector):
            settle()  #!wait-for-background
            assert camera_detector.cameras

        def test_two(camera_detector):
            wait_for_cameras(camera_detector)  #!wait-for-background
            assert camera_detector.cameras

        def test_three(camera_detector):
            wait_until(lambda: camera_detector.cameras)  #!wait-for-background
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
            threading.Event().wait(1)

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
            pause()  #!wait-for-background
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
            assert wait_until(lambda: camera_detector.cameras)  #!wait-for-background

        def test_result(camera_detector):
            found = wait_until(lambda: camera_detector.cameras)  #!wait-for-background
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
            time.sleep(1)  #!wait-for-background
            return broker

        class GatewayTest(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.broker = start_broker(18831)  #!helper-starts-broker
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
                self.own = start_broker(18832)  #!per-test-broker

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
            process = subprocess.Popen(["mosquitto"])
            time.sleep(1)  #!wait-for-background
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


def test_the_original_suite_of_51_tests(repo):
    original = (TESTS_FOLDER / "test_detect.py").read_text()
    for path in (TESTS_FOLDER / "helpers").rglob("*.py"):
        repo.write(f"tests/{path.relative_to(TESTS_FOLDER)}", path.read_bytes())
    repo.write("tests/test_detect.py", original.encode())
    lines = original.splitlines()
    found = [f for f in repo.scan() if f.path.name == "test_detect.py"]
    waits = [f.line for f in found if f.kind == "wait-for-background"]
    assert waits == [n for n, line in enumerate(lines, 1) if "time.sleep(" in line]
    others = {f.kind for f in found} - {"wait-for-background"}
    assert others == {"per-test-broker", "client-in-fixture", "helper-makes-client"}
    assert repo.fixed() == {}


# --- which files ---------------------------------------------------------------------------------

WAIT = """\
import time
def test_it(camera_detector):
    time.sleep(1)
    assert camera_detector.cameras
"""


def test_what_is_not_ours_to_read_is_left_out(repo):
    for folder in (".venv/lib", "node_modules/a", "build/lib", ".git", "x.egg-info", "own-venv"):
        repo.write(f"{folder}/tests/test_it.py", WAIT)
    repo.write("own-venv/pyvenv.cfg", "")
    repo.write("service/main.py", WAIT)
    for name in findings.OUR_MODULES:
        repo.write(f"tests/{name}.py", (TESTS_FOLDER / f"{name}.py").read_bytes())
    assert repo.scan() == []
    repo.write("tests/mqtt_test_broker.py", WAIT)  # not ours, though it is called so
    assert [str(f.path) for f in repo.scan()] == ["tests/mqtt_test_broker.py"]


def test_findings_are_in_order(repo):
    for name in ("b/test_x.py", "a/test_y.py", "conftest.py"):
        repo.write(name, WAIT + WAIT)
    places = [(f.path, f.line) for f in repo.scan()]
    assert places == sorted(places)
    assert len(places) == 6
    assert not any(path.is_absolute() for path, _ in places)


@pytest.mark.parametrize(
    "content",
    [b"def test_it(:\n", b"\xff\xfe\x00", b"x = '\xe9'\n", b"# coding: klingon\n", b"a = 1\0\n"],
    ids=["syntax", "utf-16", "latin-1", "encoding", "null"],
)
def test_a_file_that_cannot_be_parsed_is_a_finding(repo, content):
    repo.write("tests/test_bad.py", content)
    repo.write("tests/test_good.py", WAIT)
    bad, good = repo.scan()
    assert (bad.kind, bad.path, bad.certain) == ("unreadable", Path("tests/test_bad.py"), False)
    assert good.certain
    assert list(repo.fixed()) == [Path("tests/test_good.py")]
    assert findings.commented_leftovers(repo.folder) == []


def test_a_file_that_is_nested_too_deeply_is_a_finding(repo):
    repo.write("tests/test_bad.py", b"x = " + b"(" * 5000 + b")" * 5000)
    [bad] = repo.scan()
    assert bad.kind == "unreadable"


def test_scan_needs_the_standard_library_only():
    code = "import sys; sys.modules['libcst'] = None; import migration.findings"
    subprocess.run([sys.executable, "-c", code], cwd=TESTS_FOLDER.parent / "scripts", check=True)


# --- what fix rewrites ---------------------------------------------------------------------------

DISCOVERY = "camera_detector.test_run_discovery_once()"
HEALTH = "camera_detector.test_run_health_check_once()"


def test_the_plan_s_example(repo):
    before = """
        import time

        def test_discovery(camera_detector):
            time.sleep(2)  # Wait for background discovery
            assert len(camera_detector.cameras) > 0
        """
    after = dedent(before).replace("time.sleep(2)", DISCOVERY)
    assert fixed(repo, before) == after.replace("\nimport time\n\n", "")


@pytest.mark.parametrize(
    ("looks", "calls"),
    [
        ("assert camera_detector.cameras", [DISCOVERY]),
        ("assert 'x' in camera_detector.discovered_devices", [DISCOVERY]),
        ("assert camera_detector.get_cameras() == []", [DISCOVERY]),
        ("count = len(camera_detector.cameras)\nassert count == 2", [DISCOVERY]),
        ("assert camera_detector.health_check_count >= 1", [HEALTH]),
        ("assert camera_detector.get_status() == 'running'", [HEALTH]),
        ("assert not camera_detector.cameras['x'].online", [DISCOVERY, HEALTH]),
        ("assert camera_detector.cameras['x'].state == 'offline'", [DISCOVERY, HEALTH]),
    ],
)
@pytest.mark.parametrize(
    "wait",
    [
        "time.sleep(2)",
        "while not camera_detector.cameras:\n    time.sleep(0.1)",
        "for _ in range(9):\n    if camera_detector.cameras: break\n    time.sleep(0.1)",
    ],
    ids=["sleep", "while", "for"],
)
def test_a_wait_for_the_detector_becomes_the_explicit_call(repo, wait, looks, calls):
    if "sleep(2)" not in wait and DISCOVERY not in calls:
        calls = [DISCOVERY, *calls]  # the loop itself looks at cameras
    after = fixed_body(repo, f"{wait}\n{looks}\n")
    assert after == "\n".join([*calls, looks, ""])


def test_cameras_are_discovered_once_before_their_health_is_looked_at(repo):
    body = """\
        time.sleep(2)
        assert camera_detector.cameras
        network_mocks.unplug("x")
        time.sleep(2)
        assert not camera_detector.cameras["x"].online
        """
    sleeps = dedent(body).split("time.sleep(2)")
    assert fixed_body(repo, body) == sleeps[0] + DISCOVERY + sleeps[1] + HEALTH + sleeps[2]


@pytest.mark.parametrize(
    ("looks", "wait"),
    [
        ("assert mqtt_monitor.messages", 'mqtt_monitor.wait_for("#")'),
        ("assert len(mqtt_monitor.messages) == 3", 'mqtt_monitor.wait_for("#", count=3)'),
        ("assert len(mqtt_monitor.messages) > 3", 'mqtt_monitor.wait_for("#", count=4)'),
        ("assert mqtt_monitor.messages[1].payload == b'x'", 'mqtt_monitor.wait_for("#", count=2)'),
        (
            "assert 'a/b' in [m.topic for m in mqtt_monitor.messages]",
            "mqtt_monitor.wait_for('a/b')",
        ),
        (
            "assert any(m.topic == 'a/b' for m in mqtt_monitor.messages)",
            "mqtt_monitor.wait_for('a/b')",
        ),
        (
            "assert any(m.topic == TOPIC and m.retain for m in mqtt_monitor.messages)",
            "mqtt_monitor.wait_for(TOPIC, where=lambda m: m.retain)",
        ),
        (
            "assert any(m.payload == b'x' for m in mqtt_monitor.messages)",
            "mqtt_monitor.wait_for(\"#\", where=lambda m: m.payload == b'x')",
        ),
        (
            "[one, two] = [m for m in mqtt_monitor.messages if m.topic == 'a']\nassert one != two",
            "mqtt_monitor.wait_for('a', count=2)",
        ),
        (
            "found = [m for m in mqtt_monitor.messages if m.topic == 'a']\nassert len(found) >= 2",
            "mqtt_monitor.wait_for('a', count=2)",
        ),
        (
            "messages = mqtt_monitor.messages\nassert messages[0].json() == {}",
            'mqtt_monitor.wait_for("#")',
        ),
    ],
)
def test_a_sleep_before_reading_the_monitor_becomes_wait_for(repo, looks, wait):
    act = "mqtt_client.publish('a/b', 'x')\n"
    assert fixed_body(repo, f"{act}time.sleep(1)\n{looks}\n") == f"{act}{wait}\n{looks}\n"


def test_a_sleep_that_is_a_wait_for_an_event_is_rewritten_too(repo):
    body = "threading.Event().wait(timeout=20)\n"
    look = "assert camera_detector.cameras\n"
    head = "import threading\n\nlocal = threading.local()\n\n\ndef test_it(camera_detector):\n"
    after = fixed(repo, head + indent(body + look, "    "))
    assert after == head + indent(f"{DISCOVERY}\n{look}", "    ")
    messages = "assert mqtt_monitor.messages\n"
    after = fixed_body(repo, f"import threading\n{body}{messages}", "mqtt_monitor")
    assert after.splitlines()[0] == 'mqtt_monitor.wait_for("#", timeout=20)'


def test_the_name_of_a_test_says_that_it_is_about_health(repo):
    wait = WAIT.replace("test_it", "test_health_of_all")
    assert f"    {DISCOVERY}\n    {HEALTH}\n" in fixed(repo, wait)


def test_later_looks_count_until_the_test_sleeps_again(repo):
    body = """\
        time.sleep(2)
        assert camera_detector.cameras
        name = list(camera_detector.cameras)[0]
        assert camera_detector.cameras[name].online
        time.sleep(2)
        assert camera_detector.cameras
        """
    calls = [line for line in fixed_body(repo, body).splitlines() if "_once" in line]
    assert calls == [DISCOVERY, HEALTH, DISCOVERY]


def test_only_the_messages_that_are_looked_at_next_are_waited_for(repo):
    body = """\
        mqtt_client.publish("a", "1")
        time.sleep(1)
        assert any(m.topic == "b" for m in mqtt_monitor.messages)
        mqtt_client.publish("a", "2")
        time.sleep(1)
        assert camera_detector.cameras
        """
    after = fixed_body(repo, body)
    assert after == dedent(body).replace("time.sleep(1)", 'mqtt_monitor.wait_for("b")', 1)


def replacement(repo, text):
    """What is proposed for the only finding."""
    repo.write("tests/test_it.py", text)
    [found] = repo.scan()
    assert not found.certain
    return found.replacement


COMMAND = """
import time

def test_it({}, mqtt_client):
    mqtt_client.publish("cams/command", "reset")
    time.sleep(1)
    assert {}.is_reset
"""


@pytest.mark.parametrize("service", ["mqtt_service", "camera_detector"])
def test_a_command_on_the_broker_is_not_one_that_is_dealt_with(repo, service):
    proposed = replacement(repo, COMMAND.format(service, service))
    assert "mqtt_monitor.wait_for(topic), for what the service publishes in reply; " in proposed
    assert "not for the command's own 'cams/command'" in proposed
    assert ("test_run_discovery_once()" in proposed) == (service == "camera_detector")


def test_who_listens_to_himself_waits_for_that(repo):
    text = COMMAND.format("mqtt_listener", "mqtt_listener")
    text = text.replace("    mqtt", '    mqtt_client.subscribe("cams/command")\n    mqtt', 1)
    assert "in reply" not in replacement(repo, text)


def test_a_sleep_behind_a_subscription(repo):
    text = COMMAND.format("mqtt_service", "mqtt_service").replace("publish", "subscribe")
    assert replacement(repo, text).startswith("a threading.Event that on_subscribe of the client")


def test_a_test_case_gets_no_monitor(repo):
    text = """
        import time
        import unittest
        import paho.mqtt.client as mqtt

        class GatewayTest(unittest.TestCase):
            def test_it(self):
                client = mqtt.Client()
                client.publish("a/b", "c")
                time.sleep(1)
                self.assertTrue(client.is_connected())
        """
    proposed = replacement(repo, text)
    assert proposed.startswith("a threading.Event that on_message of a client sets")
    assert "not for the command's own 'a/b'" in proposed
    assert "mqtt_monitor" not in proposed


def test_a_slow_fixture_s_sleep_goes_with_it(repo):
    text = """
        import time, pytest

        @pytest.fixture
        def camera_detector(mqtt_broker):
            detector = make(mqtt_broker)
            time.sleep(1)
            return detector
        """
    assert replacement(repo, text).startswith("nothing: the fast fixture takes the place")


def test_what_is_looked_at_is_not_named_by_its_parts(repo):
    look = "assert all(camera.ready for camera in camera_detector.cameras.values())"
    repo.write("tests/test_it.py", WAIT.replace("assert camera_detector.cameras", look))
    [found] = repo.scan()
    assert found.what.endswith("before it looks at camera_detector")


@pytest.mark.parametrize("look", ["assert mqtt_service.is_reset", "check(mqtt_service)"])
def test_the_command_itself_is_not_waited_for_in_place_of_the_service(repo, look):
    body = f"""\
        mqtt_client.publish("cams/command", "reset")
        time.sleep(1)
        assert mqtt_monitor.messages[0].topic == "cams/command"
        {look}
        """
    params = "mqtt_service, mqtt_client, mqtt_monitor"
    assert fixed_body(repo, body, params) == dedent(body)


def test_a_folder_of_tests_of_another_name(repo):
    helper = "import subprocess\ndef start(): return subprocess.Popen(['mosquitto'])\n"
    repo.write("checks/broker.py", helper)
    repo.write("checks/deep/down/service.py", helper)
    repo.write("service.py", helper)
    assert repo.scan() == findings.scan(repo.folder, Path()) == []
    assert [found.path for found in findings.scan(repo.folder, Path("checks"))] == [
        Path("checks/broker.py")
    ]


def test_a_long_sleep_gives_the_timeout(repo):
    after = fixed_body(repo, "time.sleep(20)\nassert mqtt_monitor.messages\n", "mqtt_monitor")
    assert after.splitlines()[0] == 'mqtt_monitor.wait_for("#", timeout=20)'


def test_what_the_background_publishes_needs_the_call_and_the_wait(repo):
    look = 'assert any(m.topic == "system/health" for m in mqtt_monitor.messages)'
    after = fixed_body(repo, f"time.sleep(1)\n{look}\n")
    assert after.splitlines() == [HEALTH, 'mqtt_monitor.wait_for("system/health")', look]


@pytest.mark.parametrize(
    "body",
    [
        "mqtt_client.publish('c', 'discover')\ntime.sleep(1)\nassert camera_detector.cameras",
        "camera_detector.handle_command('x')\ntime.sleep(1)\nassert camera_detector.cameras",
        "start(camera_detector)\ntime.sleep(1)\nassert camera_detector.cameras",
        "detector = camera_detector\ndetector.go()\ntime.sleep(1)\nassert camera_detector.cameras",
        "camera_detector.test_enable_background_tasks()\n"
        "time.sleep(1)\nassert camera_detector.cameras",
        "time.sleep(1)\ncamera_detector.discover()\nassert camera_detector.cameras",
        "time.sleep(1)\nmqtt_client.publish('a')\nassert camera_detector.cameras",
        "time.sleep(1)\nassert camera_detector.discover_cameras()",
        "time.sleep(1)\nassert camera_detector.mqtt_connected",
        "time.sleep(1); assert camera_detector.cameras",
        "time.sleep(seconds())\nassert camera_detector.cameras",
        "if True: time.sleep(1)\nassert camera_detector.cameras",
        "while not camera_detector.cameras:\n    mqtt_client.publish('a')\n    time.sleep(1)\n"
        "assert camera_detector.cameras",
        "for n in range(9):\n    if camera_detector.cameras:\n        break\n    time.sleep(1)\n"
        "assert camera_detector.cameras and n < 5",
        "while not camera_detector.cameras:\n    time.sleep(1)\nelse:\n    pass\n"
        "assert camera_detector.cameras",
        "time.sleep(1)\nassert not mqtt_monitor.messages",
        "with mock.patch('d.discover') as discover:\n    time.sleep(1)\n    assert discover.called",
        "time.sleep(1)\nassert len(mqtt_monitor.messages) == 0",
        "mqtt_client.publish('a')\ntime.sleep(1)\nassert mqtt_monitor.messages[-1].topic == 'a'",
        "assert mqtt_monitor.messages\nmqtt_client.publish('a')\n"
        "time.sleep(1)\nassert mqtt_monitor.messages",
        "mqtt_client.publish('a')\n"
        "time.sleep(1)\nassert all(m.retain for m in mqtt_monitor.messages)",
        "mqtt_client.publish('a')\ntime.sleep(1)\nassert mqtt_monitor.messages\n"
        "with network_mocks.broken():\n    assert camera_detector.cameras",
        "mqtt_client.publish('a')\ntime.sleep(1)\nassert mqtt_monitor.messages\n"
        "found = list(camera_detector.cameras)\ncount = compute(found)\nassert count == 1",
        "pause = threading.Event()\npause.wait(1)\nassert camera_detector.cameras",
        "threading.Event().wait(seconds())\nassert camera_detector.cameras",
    ],
)
def test_the_doubtful_stays_and_is_found(repo, body):
    assert fixed_body(repo, body) == body
    kinds = {finding.kind for finding in repo.scan()}
    assert kinds == {"wait-for-background"}


@pytest.mark.parametrize(
    "text",
    [
        WAIT.replace("def test_it(", "async def test_it("),
        WAIT.replace("import time", "from x import time"),
        "import time, unittest\nclass T(unittest.TestCase):\n"
        + indent(WAIT.partition("\n")[2].replace("(camera", "(self, camera"), "    "),
        "# coding: latin-1\n" + WAIT,
        WAIT.replace("\n", "\r"),
        WAIT.replace("camera_detector", "detector"),
    ],
    ids=["async", "another sleep", "TestCase", "not UTF-8", "CR", "another service"],
)
def test_the_doubtful_test_stays(repo, text):
    assert fixed(repo, text) == text


REFUSED = {
    "params": "@pytest.fixture(params=[1, 2])\n"
    "def camera_detector(mqtt_broker, request): request.param",
    "autouse": "@pytest.fixture(autouse=True)\ndef camera_detector(mqtt_broker): yield",
    "the class": "@pytest.fixture\ndef camera_detector(mqtt_broker, request): request.cls.it = 1",
    "extends": "@pytest.fixture\ndef camera_detector(mqtt_broker, camera_detector): yield",
    "wider": "@pytest.fixture(scope='module')\ndef camera_detector(mqtt_broker): yield\n"
    "@pytest.fixture(scope='module')\ndef user(camera_detector): yield",
}


@pytest.mark.parametrize("place", ["tests/conftest.py", "tests/test_it.py"])
@pytest.mark.parametrize("slow", REFUSED.values(), ids=REFUSED)
def test_where_the_slow_fixture_stays_its_tests_wait_on(repo, slow, place):
    text = f"import pytest\n{slow}\n"
    if place == "tests/conftest.py":
        repo.write(place, text)
        assert fixed(repo, WAIT) == WAIT
    else:
        assert fixed(repo, text + WAIT) == text + WAIT
    assert [f.kind for f in repo.scan()] == ["wait-for-background"]


def test_a_fixture_that_is_made_of_the_fast_one_has_its_methods(repo):
    repo.write(
        "tests/conftest.py",
        """
        import pytest
        @pytest.fixture(params=[1, 2])
        def camera_detector(request, camera_detector_fast):
            camera_detector_fast.mode = request.param
            return camera_detector_fast
        """,
    )
    assert "test_run_discovery_once" in fixed(repo, WAIT)


def test_a_fixture_that_stands_in_for_the_detector(repo):
    repo.write(
        "tests/conftest.py",
        """
        from camera_detector_optimized_fixture import camera_detector_fast
        from optimized_service_fixture import override_fixture
        override_fixture("detector", camera_detector_fast)
        """,
    )
    after = fixed(repo, WAIT.replace("camera_detector", "detector"))
    assert "    detector.test_run_discovery_once()\n" in after


def test_a_monitor_of_their_own_has_no_wait_for(repo):
    repo.write(
        "tests/conftest.py",
        """
        import pytest
        @pytest.fixture
        def mqtt_monitor(): ...
        """,
    )
    body = "time.sleep(1)\nassert mqtt_monitor.messages\n"
    assert fixed_body(repo, body, "mqtt_monitor") == body


# --- everything else is kept ---------------------------------------------------------------------

ODD_FORMAT = """\
\"\"\"Odd, but theirs.\"\"\"
import  time   # two spaces
now=time.time

class TestIt :
\tdef test_it( self,camera_detector ) :   # a tab

\t\t# before the wait
\t\ttime.sleep( 2 )   # the wait
\t\t# after the wait
\t\tassert camera_detector.cameras==[ 1,
\t\t\t2 ]

\tdef test_loop(self, camera_detector):
\t\t# the loop
\t\twhile not camera_detector.cameras:  # its head
\t\t\t# inside
\t\t\ttime.sleep(.1)  # its sleep
\t\tassert camera_detector.cameras;   x = 'it''s'
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("last", ["", "# no end of line"])
def test_formatting_and_comments_are_kept(repo, end, bom, last):
    before = (bom + ODD_FORMAT + last).replace("\n", end)
    expected = (
        before.replace("time.sleep( 2 )", DISCOVERY)
        .replace(f"while not camera_detector.cameras:  # its head{end}", f"# its head{end}")
        .replace("\t\t\t# inside", "\t\t# inside")
        .replace("\t\t\ttime.sleep(.1)  # its sleep", f"\t\t# its sleep{end}\t\t{DISCOVERY}")
    )
    path = repo.write("tests/test_it.py", before.encode())
    assert repo.fixed() == {Path("tests/test_it.py"): expected}
    path.write_bytes(expected.encode())
    assert repo.fixed() == {}


ONLY_USE = """\
import time


def test_it(camera_detector):
    time.sleep(2)
    assert camera_detector.cameras
"""


def imports_after(repo, before, body="time.sleep(2)", end="\n"):
    """What a fix leaves above the test, where its wait is all that needs the imports."""
    test = f"def test_it(camera_detector):\n    {body}\n    assert camera_detector.cameras\n"
    after = fixed(repo, (before + test).replace("\n", end).encode()).replace(end, "\n")
    assert after.endswith(test.replace(body, DISCOVERY))
    return after[: after.index("def test_it")]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import time\n\n\n", ""),
        ("import time\n\nimport pytest\n\n\n", "import pytest\n\n\n"),
        ('"""Doc."""\n\nimport time\n\n\n', '"""Doc."""\n\n\n'),
        ("import os\nimport time\n\n\n", "import os\n\n\n"),
        ("import os\n\nimport time\n\nimport re\n", "import os\n\nimport re\n"),
        ("import os, time, re\n", "import os, re\n"),
        ("import os,  time # both\n", "import os # both\n"),
        ("import os; import time\n", "import os\n"),
        ("# for waiting\nimport time\nimport re\n", "# for waiting\nimport re\n"),
        ("import time  # to wait\nimport re\n", "# to wait\nimport re\n"),
        (
            "\f\nimport os\n# \u2028\n\f\nimport time\nimport re\n",
            "\f\nimport os\n# \u2028\n\f\nimport re\n",
        ),
        ("import time  # noqa: F401\n", None),
        ("import time  # isort: skip\n", None),
        ("# ruff: noqa\nimport time\n", None),
        ("import time as time\n", None),
        ("import time\n__all__ = ['time']\n", None),
        ("import time\nCLOCK = f'{__name__}.time.time'\n", None),
        ("import time\nNOW = time.time\n", None),
        ("try:\n    import time\nexcept ImportError:\n    raise\n", None),
    ],
)
def test_an_import_that_the_fix_leaves_unused_goes(repo, before, after, end):
    expected = before if after is None else after
    assert imports_after(repo, before, end=end) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from time import sleep\n", ""),
        ("from time import sleep, time\n", "from time import time\n"),
        ("from time import (\n    sleep,\n    time,\n)\n", "from time import (\n    time,\n)\n"),
        ("from time import (\n    time,\n    sleep,\n)\n", "from time import (\n    time,\n)\n"),
        ("from time import (  # why\n    time,\n    sleep,\n)\n", None),
        ("from time import *\nfrom time import sleep\n", "from time import *\n"),
    ],
)
def test_a_name_that_the_fix_leaves_unused_goes(repo, before, after):
    assert imports_after(repo, before, "sleep(2)") == (before if after is None else after)


def test_what_a_function_imports_for_itself_goes_too(repo):
    body = "import time\ntime.sleep(2)\nassert camera_detector.cameras\n"
    assert fixed_body(repo, body) == f"{DISCOVERY}\nassert camera_detector.cameras\n"


def test_what_was_unused_before_stays(repo):
    text = "import os\nimport time\n" + ONLY_USE.partition("\n")[2]
    assert fixed(repo, text).startswith("import os\n\n\ndef")


@pytest.mark.parametrize(
    "other",
    [
        "from tests.test_it import time\n",
        "from .test_it import time as clock\n",
        "from test_it import *\n",
        "from tests import test_it\nNOW = test_it.time.time()\n",
    ],
)
def test_an_import_that_others_get_from_there_stays(repo, other):
    repo.write("tests/test_other.py", other)
    assert fixed(repo, ONLY_USE).startswith("import time\n")


STATEMENTS = st.sampled_from(
    [
        "time.sleep(2)",
        "time.sleep(9)  # nine",
        "# a comment",
        "",
        "assert camera_detector.cameras",
        "assert not camera_detector.cameras['x'].online",
        "assert any(m.topic == 'a' for m in mqtt_monitor.messages)",
        "found = camera_detector.cameras",
        "mqtt_monitor.clear()",
        "mqtt_client.publish('a', 'b')",
        "while not camera_detector.cameras: time.sleep(1)",
        "with network_mocks.broken():\n        time.sleep(1)\n"
        "        assert camera_detector.cameras",
    ]
)
TESTS = st.lists(st.lists(STATEMENTS, max_size=8), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tests=TESTS, end=st.sampled_from(["\n", "\r\n"]))
def test_a_fix_is_done_once_and_touches_nothing_but_waits(repo, tests, end):
    head = "def test_it(camera_detector, mqtt_monitor, mqtt_client, network_mocks):"
    bodies = ["\n    ".join([head, *body, "pass"]) for body in tests]
    before = "\n\n".join(["import time", "BEGIN = time.time()", *bodies]).replace("\n", end)
    path = repo.write("tests/test_it.py", before.encode())
    certain = [finding for finding in repo.scan() if finding.certain]

    text = repo.fixed().get(Path("tests/test_it.py"), before)
    path.write_bytes(text.encode())
    compile(text, path, "exec")
    assert repo.fixed() == {}
    assert before.count("sleep") - text.count("sleep") == len(certain)

    def others(source):
        words = ("sleep", "_once()", "wait_for(", "# nine")
        return [line for line in source.split(end) if not any(word in line for word in words)]

    assert others(text) == others(before)


# --- commented code ------------------------------------------------------------------------------


def test_commented_leftovers(repo):
    repo.write(
        "tests/conftest.py",
        '''
        # Fixtures of the suite, imported from the modules beside it.
        # from old_fixtures import camera_detector
        import pytest
        # The slow one:
        # @pytest.fixture
        # def camera_detector(broker):
        #     """As it was."""
        #     time.sleep(2)
        #
        #     yield Detector()
        # It took 16 s.

        TEXT = """
        # import nothing
        """

        def test_it(camera_detector):
            #time.sleep(2)
            # import of the modules takes a while; def is a keyword
            # from here on: all is well
            camera_detector.go()  # import os
        ''',
    )
    repo.write("service/main.py", "# import os\n")
    found = findings.commented_leftovers(repo.folder)
    assert [(f.line, f.kind) for f in found] == [
        (3, "commented-code"),
        (6, "commented-code"),
        (19, "commented-code"),
    ]
    assert not any(f.certain for f in found)


@pytest.mark.parametrize(
    "comment",
    [
        "# sleep(2)",
        "# await asyncio.sleep(2)",
        "# while not camera_detector.cameras:\n#     time.sleep(0.1)",
        "# try:\n#     from fast import camera_detector\n# except ImportError:\n#     pass",
        "# class OldBroker:\n#     def start(self):\n#         time.sleep(1)",
        "# detector = CameraDetector(config)",
        "# tests.test_detect.camera_detector = camera_detector_fast",
        "# camera_detector.start_background()",
        "# port = 1883\n# import tests.test_detect",
    ],
)
def test_old_code_of_other_kinds(repo, comment):
    repo.write("tests/test_it.py", comment + "\n")
    assert [f.line for f in findings.commented_leftovers(repo.folder)] == [1]


@pytest.mark.parametrize(
    "comment",
    [
        "# camera_detector",
        "# for a camera_detector",
        "# with the broker's own port",
        "# port = 1883",
        "# while it lasts: nothing",
        "# time.sleep is bad",
        "# class of its own",
    ],
)
def test_a_comment_is_no_old_code(repo, comment):
    repo.write("tests/test_it.py", comment + "\n")
    assert findings.commented_leftovers(repo.folder) == []
