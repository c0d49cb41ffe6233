"""A service's own cleanup has a deadline, and guests in the process do not disturb."""

import subprocess
import sys

import pytest
from helpers.drop_in import ALL_MODULES, Repository
from helpers.echo import ECHO

pytestmark = pytest.mark.usefixtures("few_plugins")

SERVICE = """
    import asyncio, multiprocessing, queue, socket, subprocess, threading, time
    from concurrent.futures import ThreadPoolExecutor

    class Slow:
        def __init__(self):
            self.executor = ThreadPoolExecutor(1)
            self.lock = threading.Lock()
            self.lock.acquire()

        def work(self):
            self.executor.submit(time.sleep, 60)

        def receive(self):
            one, other = socket.socketpair()
            with one, other:
                one.recv(1)

        def join(self, other):
            other.start()
            other.join()

        {how} stop(self):
            {stop}
"""

WIRING = """
    from optimized_service_fixture import service_fixture
    from slow import Slow

    slow = service_fixture(Slow, cleanup_timeout=0.5)
"""

TESTS = """
    def test_one(slow):
        slow.work()

    def test_two():
        pass
"""


def run_with(pytester, stop, how="def"):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("slow.py", SERVICE.format(stop=stop, how=how))
    repository.write("tests/conftest.py", WIRING)
    repository.write("tests/test_it.py", TESTS)
    return repository.run("-W", "error")


def assert_named(result):
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert result.stderr.str() == ""
    result.stdout.fnmatch_lines(
        ["*left behind by services*", "*::test_one: stop() did not end within 0.5 s*"]
    )


@pytest.mark.parametrize(
    "stop",
    [
        "self.executor.shutdown(wait=True)",
        "threading.Event().wait()",
        "while True: time.sleep(1)",
        "[time.sleep(1) for _ in iter(int, 1)]",
        "self.lock.acquire()",
        "queue.SimpleQueue().get()",
        "queue.Queue().get()",
        "self.receive()",
        "subprocess.Popen(['sleep', '600']).wait()",
        "subprocess.run(['sleep', '600'], stdout=subprocess.PIPE)",
        "self.join(multiprocessing.get_context('fork').Process(target=threading.Event().wait))",
        "self.join(threading.Thread(target=threading.Event().wait))",
        "self.join(threading.Thread(target=self.lock.acquire, daemon=True))",
        "self.executor.submit(threading.Event().wait).result()",
        "subprocess.run(['sleep', '600'], check=True)",
    ],
    ids=str,
)
def test_a_cleanup_that_does_not_end_is_interrupted_and_named(pytester, stop):
    result = run_with(pytester, stop)
    assert_named(result)
    result.stdout.fnmatch_lines(["*in stop*"])


def test_a_cleanup_that_ends_in_time_is_not_named(pytester):
    result = run_with(pytester, "time.sleep(0.1)")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*left behind*")


@pytest.mark.parametrize(
    "stop",
    [
        "await asyncio.Event().wait()",
        "await asyncio.sleep(60)",
        "self.lock.acquire()",
        "self.join(threading.Thread(target=threading.Event().wait))",
        "while True: time.sleep(0.1)",
        "await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)",
    ],
    ids=str,
)
def test_an_async_cleanup_that_does_not_end_is_interrupted_and_named(pytester, stop):
    assert_named(run_with(pytester, stop, how="async def"))


def test_ctrl_c_in_a_cleanup_ends_the_run(pytester):
    result = run_with(pytester, "import signal; signal.raise_signal(signal.SIGINT)")
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_an_error_of_a_cleanup_is_an_error_of_the_test(pytester):
    result = run_with(pytester, "raise ValueError('as it is')")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: as it is"])


ECHO_WIRING = """
    from optimized_service_fixture import service_fixture
    from shared_mqtt_pool import mqtt_client, mqtt_monitor
    from echo import Echo

    echo = service_fixture(Echo, cleanup="stop")
"""

ECHO_TEST = """
    def test_echo(echo, mqtt_client, mqtt_monitor):
        mqtt_client.publish("cmd", "on")
        mqtt_monitor.wait_for("state")
"""


def echo_repository(pytester, tests):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("echo.py", ECHO)
    repository.write("tests/conftest.py", ECHO_WIRING)
    return repository.write("tests/test_it.py", tests)


def test_paho_may_lie_outside_of_the_interpreter_s_own_folders(pytester, monkeypatch):
    repository = echo_repository(pytester, ECHO_TEST)
    deps = pytester.mkdir("deps")
    find = "import paho, pathlib; print(pathlib.Path(paho.__path__[0]))"
    paho = subprocess.run([sys.executable, "-c", find], capture_output=True, text=True, check=True)
    (deps / "paho").symlink_to(paho.stdout.strip())
    monkeypatch.setenv("PYTHONPATH", str(deps))
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_a_tracer_that_wraps_run_and_hands_the_thread_over(pytester):
    tracer = """
    import functools, threading

    run = threading.Thread.run
    start = threading.Thread.start

    @functools.wraps(start)
    def traced_start(thread, *args, **kwargs):
        method = thread.run
        def traced_run(self, *args): return method.__func__(self, *args)
        thread.run = traced_run.__get__(thread)
        return start(thread, *args, **kwargs)

    threading.Thread.start = traced_start

    def test_a_thread():
        ran = []
        thread = threading.Thread(target=ran.append, args=[1])
        thread.start()
        thread.join()
        assert ran == [1]
    """
    echo_repository(pytester, tracer + ECHO_TEST).run("-W", "error").assert_outcomes(passed=2)


@pytest.mark.parametrize("fixture", ["prompt_mqtt_clients", "lent"])
def test_an_object_that_ends_its_client_as_it_is_collected(pytester, fixture):
    test = """
    import gc
    import pytest
    from service import new_client

    class Holder:
        def __init__(self, port):
            self.client = new_client("holder")
            self.client.on_connect = self.connected
            self.client.on_message = self.received
            self.client.connect("localhost", port)
            self.client.loop_start()

        def connected(self, *args): pass
        def received(self, *args): pass

        def __del__(self):
            self.client.disconnect()
            self.client.loop_stop()

    @pytest.fixture
    def lent(shared_mqtt_pool):
        with shared_mqtt_pool.lending():
            yield

    def test_it({fixture}, session_mqtt_broker):
        Holder(session_mqtt_broker.port)
    """
    repository = echo_repository(pytester, test.replace("{fixture}", fixture))
    repository.write(
        "tests/conftest.py", "from shared_mqtt_pool import prompt_mqtt_clients, shared_mqtt_pool"
    )
    repository.run().assert_outcomes(passed=1)
