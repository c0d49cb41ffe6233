"""How real suites break naive versions: each trap with the modules, and without them.

Without them the trap must snap, or the test says nothing. The numbers are those of the notes
from the field that the project started from.
"""

import socket
import subprocess
import sys

import pytest
from helpers.drop_in import (
    ALL_MODULES,
    CAMERA_SERVICE,
    SLOW_FIXTURE,
    Repository,
)

WITH_AND_WITHOUT = pytest.mark.parametrize("helped", [True, False], ids=["with", "without"])

CAMERA = (
    "from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish\n"
)
FUTURES = "from concurrent_futures_fix import fix_concurrent_futures\n"
BROKER = "from mqtt_test_broker import session_mqtt_broker, test_mqtt_broker\n"
EVERY_CLIENT = """
import pytest
from mqtt_test_broker import session_mqtt_broker
from shared_mqtt_pool import prompt_mqtt_clients, redirected_mqtt_clients

@pytest.fixture(scope="session", autouse=True)
def everywhere(prompt_mqtt_clients, redirected_mqtt_clients): pass
"""

# Hand-written, as people write it, but without the sleeps.
REAL_FIXTURE = """
    import os
    import threading
    import pytest
    from service import CameraDetector, new_client


    @pytest.fixture
    def camera_detector(session_mqtt_broker, monkeypatch):
        monkeypatch.setenv("MQTT_PORT", str(session_mqtt_broker.port))
        yield CameraDetector()

"""

pytestmark = pytest.mark.usefixtures("few_plugins")


@pytest.fixture
def repository(pytester):
    return Repository(pytester, ALL_MODULES)


@pytest.fixture
def dead_port():
    """A port that nobody listens on and nobody else gets."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def wire(repository, helped, wiring=CAMERA, otherwise=BROKER):
    repository.write("tests/conftest.py", wiring if helped else otherwise)


# 1 to 6: wiring that silently does nothing


@WITH_AND_WITHOUT
def test_1_a_fixture_in_conftest_does_not_win_over_one_in_the_module(repository, helped):
    conftest = "import pytest\n@pytest.fixture\ndef camera_detector(): pass\n"
    wire(repository, helped, CAMERA, conftest)
    repository.write("tests/test_it.py", SLOW_FIXTURE + "\n    def test(camera_detector): pass\n")
    repository.run().assert_outcomes(**{"passed" if helped else "errors": 1})


@WITH_AND_WITHOUT
def test_2_a_fixture_cannot_be_called(repository, helped):
    definition = "import pytest\n@pytest.fixture\ndef camera_detector_fast(): pass\n"
    calling = (
        "import pytest\n@pytest.fixture\ndef camera_detector(): return camera_detector_fast()\n"
    )
    wire(repository, True, (CAMERA if helped else definition) + calling)
    repository.write(
        "tests/test_it.py",
        "from service import CameraDetector\ndef test(camera_detector): pass\n",
    )
    repository.run().assert_outcomes(**{"passed" if helped else "errors": 1})


@WITH_AND_WITHOUT
def test_3_another_module_object_than_the_one_that_pytest_collects(repository, helped):
    assignment = "import tests.test_it\ntests.test_it.camera_detector = camera_detector_fast\n"
    definition = "import pytest\n@pytest.fixture\ndef camera_detector_fast(): pass\n"
    wire(repository, True, (CAMERA if helped else definition) + assignment)
    repository.write("tests/test_it.py", SLOW_FIXTURE + "\n    def test(camera_detector): pass\n")
    repository.run().assert_outcomes(**{"passed" if helped else "errors": 1})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
@pytest.mark.parametrize("package", [True, False], ids=["package", "folder"])
def test_4_siblings_are_found_in_every_layout(pytester, package, mode):
    repository = Repository(pytester, ALL_MODULES, package=package)
    wire(repository, True, CAMERA.replace("from ", "from .") if package else CAMERA)
    repository.write("tests/test_it.py", SLOW_FIXTURE + "\n    def test(camera_detector): pass\n")
    if not package:  # importlib mode puts the folder on no path: the user's setting does
        repository.write("pytest.ini", "[pytest]\npythonpath = tests\n")
    result = repository.run("-W", "error", f"--import-mode={mode}")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("how", ["-p", "pytest_plugins"])
def test_4_as_plugins_they_work_too(repository, how, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository.tests))
    name = "camera_detector_optimized_fixture"
    wire(repository, True, f"pytest_plugins = [{name!r}]" if how == "pytest_plugins" else "")
    (repository.tests / "conftest.py").rename(repository.tests.parent / "conftest.py")
    repository.write("tests/test_it.py", SLOW_FIXTURE + "\n    def test(camera_detector): pass\n")
    options = ["-p", name] if how == "-p" else []
    result = repository.run("-W", "error", *options)
    result.assert_outcomes(passed=1)


@WITH_AND_WITHOUT
def test_5_a_later_hook_of_the_same_name_replaces_the_imported_one(repository, helped):
    ours = "def pytest_sessionfinish(session): print('ours')\n"
    repository.write("other.py", ours)
    later = "\ndef pytest_sessionfinish(session): pass\ndef pytest_collectstart(collector): pass\n"
    wire(repository, True, (CAMERA if helped else "from other import pytest_sessionfinish") + later)
    repository.write("tests/test_it.py", SLOW_FIXTURE + "\n    def test(camera_detector): pass\n")
    result = repository.run("-s")
    if helped:
        result.assert_outcomes(passed=1)
    else:
        result.stdout.no_fnmatch_line("ours")


@WITH_AND_WITHOUT
def test_6_a_service_under_two_names_is_two_classes(repository, helped):
    naive = (
        "import pytest\n@pytest.fixture\n"
        "def camera_detector_fast(session_mqtt_broker, monkeypatch):\n"
        "    monkeypatch.setenv('MQTT_PORT', str(session_mqtt_broker.port))\n"
        "    from package.service import CameraDetector\n    return CameraDetector()\n"
    )
    repository._pytester.mkpydir("package")
    repository.write("package/service.py", CAMERA_SERVICE)
    wire(repository, helped, CAMERA, FUTURES + BROKER + naive)
    name = "camera_detector" if helped else "camera_detector_fast"
    repository.write(
        "tests/test_it.py",
        SLOW_FIXTURE
        + f"""
    def test(monkeypatch, {name}):
        monkeypatch.setattr(CameraDetector, "_run_full_discovery", lambda self: "patched")
        assert {name}._run_full_discovery() == "patched"
        """,
    )
    repository.run().assert_outcomes(**{"passed" if helped else "failed": 1})


# 7 to 17: services that fight back


@WITH_AND_WITHOUT
def test_7_the_service_ignores_the_port_that_it_is_given(repository, helped, dead_port):
    stubborn = CAMERA_SERVICE.replace('int(os.environ.get("MQTT_PORT", 1883))', str(dead_port))
    assert stubborn != CAMERA_SERVICE
    repository.write("service.py", stubborn)
    wire(repository, helped)
    repository.write("tests/test_it.py", REAL_FIXTURE + "\n    def test(camera_detector): pass\n")
    repository.run().assert_outcomes(**{"passed" if helped else "errors": 1})


@WITH_AND_WITHOUT
def test_8_instances_of_one_client_id_that_nobody_stops(repository, helped):
    wire(repository, helped, CAMERA, FUTURES + BROKER)
    repository.write("service.py", CAMERA_SERVICE.replace("self.mqtt_client.disconnect()", "pass"))
    repository.write(
        "tests/test_it.py",
        REAL_FIXTURE
        + """
    @pytest.mark.parametrize("number", range(5))
    def test(camera_detector, number): assert camera_detector.mqtt_connected

    def test_nobody_was_thrown_out(session_mqtt_broker):
        assert "already connected, closing old connection" not in session_mqtt_broker.log
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=6) if helped else result.assert_outcomes(passed=5, failed=1)


@WITH_AND_WITHOUT
def test_9_tasks_that_look_at_the_running_flag(repository, helped):
    wire(repository, helped)
    discovery = "test_run_discovery_once" if helped else "_run_full_discovery"
    repository.write(
        "tests/test_it.py",
        REAL_FIXTURE
        + f"""
    def test(camera_detector):
        camera_detector._running = False
        camera_detector._thread.join()
        camera_detector.cameras.clear()
        camera_detector.{discovery}()
        assert camera_detector.cameras
        """,
    )
    repository.run("-p", "no:threadexception").assert_outcomes(
        **{"passed" if helped else "failed": 1}
    )


@WITH_AND_WITHOUT
def test_10_methods_of_the_last_instance_stay_attached(repository, helped):
    # The naive pool: one client that every instance is given.
    sharing = (
        FUTURES
        + BROKER
        + (
            "import pytest, service\n"
            "@pytest.fixture(scope='session', autouse=True)\n"
            "def shared_client():\n"
            "    client, make = None, service.new_client\n"
            "    def shared(client_id):\n"
            "        nonlocal client\n"
            "        client = client or make(client_id)\n"
            "        return client\n"
            "    service.new_client = shared\n"
        )
    )
    wire(repository, helped, CAMERA, sharing)
    repository.write(
        "tests/test_it.py",
        REAL_FIXTURE
        + """
    heard = []

    def test_one(camera_detector):
        camera_detector.mqtt_client.subscribe("topic")
        camera_detector.mqtt_client.message_callback_add("#", lambda *args: heard.append(args))

    def test_two(camera_detector, session_mqtt_broker):
        camera_detector.mqtt_client.subscribe("end", 1)
        ended = threading.Event()
        camera_detector.mqtt_client.message_callback_add("end", lambda *args: ended.set())
        camera_detector.mqtt_client.publish("topic", qos=1).wait_for_publish(5)
        camera_detector.mqtt_client.publish("end", qos=1)
        assert ended.wait(10)
        assert heard == []
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=2) if helped else result.assert_outcomes(passed=1, failed=1)


@WITH_AND_WITHOUT
def test_11_a_retained_message_reaches_the_next_test(repository, helped):
    wire(repository, helped, CAMERA, FUTURES + BROKER)
    repository.write(
        "tests/test_it.py",
        REAL_FIXTURE
        + """
    import paho.mqtt.subscribe

    def test_one(camera_detector):
        camera_detector.mqtt_client.publish("health", "1", 1, retain=True).wait_for_publish(5)

    def test_two(camera_detector):
        heard, ended = [], threading.Event()
        camera_detector.mqtt_client.message_callback_add("health", lambda *a: heard.append(a))
        camera_detector.mqtt_client.message_callback_add("end", lambda *a: ended.set())
        camera_detector.mqtt_client.subscribe([("health", 1), ("end", 1)])
        camera_detector.mqtt_client.publish("end", qos=1)
        assert ended.wait(10)
        assert heard == []
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=2) if helped else result.assert_outcomes(passed=1, failed=1)


LATE_WORK = """
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    import pytest

    class Service:
        def __init__(self): self._unusual_name = ThreadPoolExecutor(1)

    service = Service()

    @pytest.fixture(scope="session", autouse=True)
    def after_the_end(request):
        def look():
            future = service._unusual_name.submit(int)
            print("late future is", "cancelled" if future.cancelled() else future.result(5))
        request.config.add_cleanup(look)

    def test(): service._unusual_name.submit(int)
"""


@WITH_AND_WITHOUT
def test_12_work_that_is_lost_does_not_look_like_success(repository, helped):
    naive = (
        "import concurrent.futures as f\n"
        "def submit(self, fn, *args):\n"
        "    future = f.Future()\n    future.set_result(None)\n    return future\n"
        "def pytest_sessionfinish(): f.ThreadPoolExecutor.submit = submit\n"
    )
    wire(repository, helped, FUTURES, naive)
    repository.write("tests/test_it.py", LATE_WORK)
    result = repository.run("-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["late future is cancelled" if helped else "late future is None"])


@WITH_AND_WITHOUT
def test_13_workers_and_timers_do_not_keep_the_process_alive(repository, helped):
    wire(repository, helped, FUTURES, "")
    repository.write(
        "tests/test_it.py",
        """
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        def sleep_for_ever():
            while True: time.sleep(1)
        def test_one(): executor.submit(sleep_for_ever)
        def test_two(): threading.Timer(60, print).start()
        def test_three(): threading.Thread(target=sleep_for_ever).start()
        """,
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        command, cwd=repository.tests.parent, stdout=subprocess.PIPE, text=True
    )
    with process:
        for line in process.stdout:
            if "3 passed" in line:
                break
        try:
            assert process.wait(10 if helped else 1) == 0
            assert helped, "the process ended by itself, so nothing was tested"
        except subprocess.TimeoutExpired:
            assert not helped
        finally:
            process.kill()


@WITH_AND_WITHOUT
def test_14_threads_that_log_after_the_end(repository, helped):
    wire(repository, helped, FUTURES, "")
    repository.write(
        "tests/test_it.py",
        """
        import atexit, logging, threading, time

        def log_for_ever():
            while True:
                logging.error("late")
                time.sleep(0.001)

        def test_one():
            logging.getLogger().addHandler(logging.StreamHandler())
            threading.Thread(target=log_for_ever, daemon=True).start()
            # Such suites take a while to end.
            atexit.register(threading.Event().wait, 0.05)
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=1)
    assert ("I/O operation on closed file" in result.stderr.str()) is not helped
    assert (result.stderr.str() == "") is helped


@pytest.mark.slow
@WITH_AND_WITHOUT
def test_15_everything_at_once(repository, helped):
    plugins = [
        word for name in ("asyncio", "randomly", "timeout", "xdist") for word in ("-p", name)
    ]
    wire(repository, helped, CAMERA + FUTURES + "from shared_mqtt_pool import mqtt_client\n")
    repository.write(
        "tests/test_it.py",
        SLOW_FIXTURE
        + """
    import asyncio, unittest

    @pytest.mark.asyncio
    async def test_asyncio(camera_detector, mqtt_client):
        await asyncio.sleep(0)
        assert camera_detector.mqtt_connected and mqtt_client.is_connected()

    @pytest.mark.timeout(20)
    def test_timeout(camera_detector): camera_detector.test_run_discovery_once()

    class TestCase(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def detector(self, camera_detector): self.detector = camera_detector
        def test_unittest(self): assert self.detector.mqtt_connected

    @pytest.mark.parametrize("number", range(7))
    def test_many(camera_detector, number): assert not camera_detector.cameras
        """,
    )
    for workers in ("0", "2"):
        # pytest-asyncio 0.24 and later wants a setting that those before refuse.
        unset = "ignore:The configuration option"
        options = ["-W", "error", "-W", unset, "-n", workers, "--timeout=30"]
        result = repository.run(*plugins, *options)
        result.assert_outcomes(**{"passed" if helped else "errors": 10})
        assert result.stderr.str() == ""


@WITH_AND_WITHOUT
def test_16_an_executor_that_was_shut_down_and_an_interpreter_that_ends(repository, helped):
    wire(repository, helped, FUTURES, "")
    repository.write(
        "tests/test_it.py",
        """
        import atexit
        from concurrent.futures import ThreadPoolExecutor
        import pytest

        late = ThreadPoolExecutor(1)
        atexit.register(lambda: late.submit(int))

        def test_shut_down():
            executor = ThreadPoolExecutor(1)
            executor.shutdown()
            with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                executor.submit(int)
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=1)
    message = "cannot schedule new futures after interpreter shutdown"
    assert (message in result.stderr.str()) is not helped


@WITH_AND_WITHOUT
def test_17_loop_stop_can_lose_a_race(repository, helped):
    # paho 2 forgets its thread as that ends; here that happens in the middle of loop_stop().
    wire(repository, helped, EVERY_CLIENT, "")
    repository.write(
        "tests/test_it.py",
        """
        import threading
        import paho.mqtt.client as mqtt
        import pytest
        from service import new_client

        class Racing(mqtt.Client):
            @property
            def _thread(self):
                if threading.current_thread() is not threading.main_thread():
                    return self.__dict__["thread"]
                self.looks = self.__dict__.get("looks", 0) + 1
                return self.__dict__.get("thread") if self.looks < LOOKS else None

            @_thread.setter
            def _thread(self, thread): self.__dict__["thread"] = thread

        LOOKS = 10 ** 6

        def test_one():
            global LOOKS
            client = new_client("racing")
            client.__class__ = Racing
            client.thread = thread = threading.Thread(target=int)
            thread.start()
            thread.join()
            for LOOKS in range(2, 6):
                client.looks = 0
                client.loop_stop()
        """,
    )
    repository.run().assert_outcomes(**{"passed" if helped else "failed": 1})


# 18 to 21: other people's suites


CLIENT = """
    import sys, time, unittest
    import paho.mqtt.client
    from service import new_client

    def connect(client, host="192.0.2.1", port=1883):
        client.connect(host, port)
        client.loop_start()
        deadline = time.monotonic() + 5
        while not client.is_connected(): assert time.monotonic() < deadline
        return client

"""


@WITH_AND_WITHOUT
@pytest.mark.slow
def test_18_loop_stop_before_disconnect_takes_a_second(repository, helped):
    wire(repository, helped, EVERY_CLIENT, BROKER)
    repository.write(
        "tests/test_it.py",
        CLIENT
        + """
    def test_it(session_mqtt_broker):
        seconds = []
        for _ in range(3):
            client = connect(new_client("a"), session_mqtt_broker.host, session_mqtt_broker.port)
            connected = time.perf_counter()
            client.publish("a", qos=1).wait_for_publish(5)
            published = time.perf_counter()
            client.loop_stop()
            stopped = time.perf_counter()
            client.disconnect()
            seconds.append((stopped - published) / (published - connected))
        assert sorted(seconds)[1] < 30  # times a round trip
        """,
    )
    repository.run().assert_outcomes(**{"passed" if helped else "failed": 1})


@WITH_AND_WITHOUT
def test_19_brokers_and_clients_in_unittest_classes(repository, helped, dead_port):
    ports = (
        f"\n@pytest.fixture(scope='session')\ndef redirected_mqtt_ports(): return [{dead_port}]\n"
    )
    wire(repository, helped, EVERY_CLIENT + ports, "")
    repository.write(
        "tests/test_it.py",
        CLIENT
        + f"""
    class Test(unittest.TestCase):
        @classmethod
        def setUpClass(cls): cls.client = connect(new_client("a"), "127.0.0.1", {dead_port})
        @classmethod
        def tearDownClass(cls):
            cls.client.loop_stop()
            cls.client.disconnect()
        def test_it(self): assert self.client.is_connected()
        """,
    )
    repository.run().assert_outcomes(**{"passed" if helped else "errors": 1})


@WITH_AND_WITHOUT
def test_20_paho_is_imported_anew(repository, helped, dead_port):
    naive = (
        "import paho.mqtt.client as mqtt, pytest\n"
        "@pytest.fixture(scope='session', autouse=True)\n"
        "def redirected(session_mqtt_broker):\n"
        "    connect = mqtt.Client.connect\n"
        "    mqtt.Client.connect = lambda self, host, port: connect(\n"
        "        self, session_mqtt_broker.host, session_mqtt_broker.port)\n"
    )
    ports = (
        f"\n@pytest.fixture(scope='session')\ndef redirected_mqtt_ports(): return [{dead_port}]\n"
    )
    wire(repository, helped, EVERY_CLIENT + ports, BROKER + naive)
    repository.write(
        "tests/test_it.py",
        CLIENT
        + f"""
    def test_it():
        del sys.modules["paho.mqtt.client"], sys.modules["service"]
        from service import new_client
        client = connect(new_client("a"), "127.0.0.1", {dead_port})
        client.loop_stop()
        client.disconnect()
        """,
    )
    repository.run().assert_outcomes(**{"passed" if helped else "failed": 1})


@WITH_AND_WITHOUT
def test_21_tests_that_want_no_broker_or_three(repository, helped, dead_port):
    helping_everybody = """
@pytest.fixture(scope="session")
def redirected_mqtt_ports(): return range(1, 65536)
"""
    wire(repository, helped, EVERY_CLIENT + CAMERA, EVERY_CLIENT + helping_everybody)
    repository.write(
        "tests/test_it.py",
        CLIENT
        + f"""
    import pytest
    from mqtt_test_broker import TestMQTTBroker

    def test_a_dead_port():
        with pytest.raises(ConnectionRefusedError):
            new_client("a").connect("127.0.0.1", {dead_port})

    def test_three_brokers():
        with TestMQTTBroker() as one, TestMQTTBroker() as two, TestMQTTBroker() as three:
            for broker in (one, two, three):
                client = connect(new_client("only"), broker.host, broker.port)
                assert "as only" in broker.log
                client.disconnect()
                client.loop_stop()
        """,
    )
    outcomes = {"passed": 2} if helped else {"passed": 1, "failed": 1}
    repository.run("-W", "error").assert_outcomes(**outcomes)


# The end of a run, whatever ends it

LEAKS = """
    import multiprocessing, os, signal, sys, threading, time
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    import pytest
    from service import new_client

    executor = ThreadPoolExecutor(2)
    lock = threading.Lock()
    lock.acquire()

    def hang():
        while True: time.sleep(1)

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_leaks(session_mqtt_broker):
        global pool
        for _ in range(40):
            client = new_client("the same")
            client.connect(session_mqtt_broker.host, session_mqtt_broker.port)
            client.loop_start()
        executor.submit(lock.acquire)
        threading.Timer(60, print).start()
        threading.Thread(target=hang).start()
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
        pool.submit(hang)

"""

ENDINGS = {
    "green": ("def test_last(): pass", 0, ""),
    "first failure": ("def test_last(): assert False", 1, "-x"),
    "interrupt": ("def test_last(): os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 2, ""),
    "pytest.exit": ("def test_last(): pytest.exit('enough', returncode=7)", 7, ""),
    "failing session fixture": (
        "@pytest.fixture(scope='session')\n    def failing(): raise ValueError\n"
        "    def test_last(failing): pass",
        1,
        "",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_that_leaks_everything_ends(repository, ending):
    last, status, option = ENDINGS[ending]
    wire(repository, True, FUTURES + BROKER)
    repository.write("tests/test_it.py", LEAKS + "    " + last)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *option.split()]
    run = subprocess.run(
        command,
        cwd=repository.tests.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == status, run.stdout
    assert run.stderr == ""
