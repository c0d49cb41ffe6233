"""A service's own cleanup has a deadline, and guests in the process do not disturb."""

import re
import subprocess
import sys
import threading
from textwrap import dedent

import pytest
from helpers.drop_in import ALL_MODULES, Repository, assert_nothing_left
from helpers.echo import ECHO
from mqtt_testing.services import cleanup

pytestmark = pytest.mark.usefixtures("few_plugins")

SERVICE = """
    import asyncio, multiprocessing, queue, socket, subprocess, threading, time
    from concurrent.futures import ThreadPoolExecutor

    class Slow:
        def __init__(self):
            self.executor = ThreadPoolExecutor(1)
            self.lock = threading.Lock()
            self.lock.acquire()
            self.executor.submit(time.sleep, 60)

        def receive(self):
            one, other = socket.socketpair()
            with one, other:
                one.recv(1)

        def wait_three_times(self):
            for _ in range(3):
                try:
                    threading.Event().wait()
                except BaseException:
                    pass

        def join(self, other):
            other.start()
            other.join()
"""

STOP = """
    class Slow{number}(Slow):
        {how} stop(self):
            {stop}

        async def of_a_loop(self):
            pass
"""

WIRING = """
    import slow
    from optimized_service_fixture import service_fixture
"""

TESTS = {
    "in a loop of its own": "def test_{number}(slow_{number}): pass",
    "in the loop of the test": """
        @__import__("pytest").mark.asyncio
        async def test_{number}(slow_{number}): pass
    """,
}


def run_with(pytester, *stops, how="def", where="in a loop of its own"):
    """Run a test for each of *stops*, the cleanup of a service, and one more."""
    repository = Repository(pytester, ALL_MODULES)
    numbered = list(enumerate(stops))
    classes = (dedent(STOP).format(number=n, how=how, stop=stop) for n, stop in numbered)
    repository.write("slow.py", dedent(SERVICE) + "".join(classes))
    fixture = "slow_{0} = service_fixture(slow.Slow{0}, cleanup_timeout=0.4)\n"
    fixtures = (fixture.format(number) for number, _ in numbered)
    repository.write("tests/conftest.py", dedent(WIRING) + "".join(fixtures))
    tests = (dedent(TESTS[where]).format(number=number) + "\n" for number, _ in numbered)
    repository.write("tests/test_it.py", "".join(tests) + "def test_last(): pass")
    scope = "asyncio_default_fixture_loop_scope=function"
    return repository.run("-W", "error", "-p", "asyncio", "-o", scope)


def assert_all_named(result, stops):
    """Check that each of *stops* is named, and where it stood, and that nothing else is said."""
    result.assert_outcomes(passed=len(stops) + 1)
    assert result.ret == 0
    assert result.stderr.str() == ""
    for number, stop in enumerate(stops):
        named = f"*::test_{number}: stop() did not end within 0.4 s*"
        result.stdout.fnmatch_lines(["*left behind by services*", named]), stop
    stacks, places = (result.stdout.str().count(place) for place in (" in stop\n", ".stop, which"))
    assert (stacks, places) == (len(set(stops) - set(AWAITING)), len(set(stops) & set(AWAITING)))


BLOCKING = (
    "self.executor.shutdown(wait=True)",
    "threading.Event().wait()",
    "while True: time.sleep(0.1)",
    "[time.sleep(1) for _ in iter(int, 1)]",
    "self.lock.acquire()",
    "self.wait_three_times()",
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
)

AWAITING = (
    "await asyncio.Event().wait()",
    "await asyncio.sleep(60)",
    "await asyncio.gather(asyncio.sleep(60), asyncio.Event().wait())",
    "await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)",
    "await asyncio.get_running_loop().run_in_executor(self.executor, threading.Event().wait)",
)


@pytest.mark.parametrize("where", TESTS)
@pytest.mark.parametrize("how", ["def", "async def"])
@pytest.mark.slow
def test_a_cleanup_that_does_not_end_is_interrupted_and_named(pytester, how, where):
    stops = BLOCKING + AWAITING * (how == "async def")
    assert_all_named(run_with(pytester, *stops, how=how, where=where), stops)


@pytest.mark.parametrize("where", TESTS)
@pytest.mark.parametrize("how", ["def", "async def"])
def test_a_cleanup_that_ends_in_time_is_not_named(pytester, how, where):
    result = run_with(pytester, "time.sleep(0.1)", how=how, where=where)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*left behind*")


def test_pools_of_processes_are_ended_all_at_once(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--durations=1")
    pools = "[multiprocessing.get_context('fork').Pool(1) for _ in range(8)]"
    stop = f"self.pools = {pools}; [p.apply_async(time.sleep, [60]) for p in self.pools]; "
    result = run_with(pytester, stop + "threading.Event().wait()")
    result.assert_outcomes(passed=2)
    [seconds] = re.findall(r"([\d.]+)s teardown", result.stdout.str())
    assert float(seconds) < 2.0  # and not 0.4 s a pool, whose threads were interrupted


def test_ctrl_c_in_a_cleanup_ends_the_run(pytester):
    result = run_with(pytester, "import signal; signal.raise_signal(signal.SIGINT)")
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_an_error_of_a_cleanup_is_an_error_of_the_test(pytester):
    result = run_with(pytester, "raise ValueError('as it is')")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: as it is"])


@pytest.mark.parametrize("verdict", ["fail", "exit"])
def test_a_verdict_is_no_consequence_of_an_interruption(pytester, verdict):
    """As pytest-timeout gives one, in whatever runs just then."""
    stop = f"self.wait_three_times(); __import__('pytest').{verdict}('as it is')"
    run_with(pytester, stop).stdout.fnmatch_lines(["*: as it is*"])


def test_what_does_not_end_is_named_although_a_cleanup_fails(pytester):
    stop = "threading.Thread(target=self.lock.acquire).start(); raise ValueError('as it is')"
    result = run_with(pytester, stop)
    result.assert_outcomes(passed=2, errors=1)
    named = "*::test_0: thread * runs on.*"
    result.stdout.fnmatch_lines(["*ValueError: as it is", "*left behind by services*", named])


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


WAITING = {
    "event": "self.ready.wait()",
    "join": "self.thread.join()",
    "queue": "self.queue.get()",
    "polling": "while not self.ready.is_set(): time.sleep(0.01)",
    "asked": "assert self.ready.wait(30)",
}


def test_a_constructor_that_waits_for_its_thread(pytester):
    repository = Repository(pytester, ALL_MODULES)
    service = """
    import queue, threading, time

    class Waiting:
        def __init__(self):
            self.ready, self.queue = threading.Event(), queue.Queue()
            self.thread = threading.Thread(target=self.run)
            self.thread.start()
            self.wait()

        def run(self):
            self.queue.put("ready")
            self.ready.set()
    """
    tests, fixtures = "", WIRING.replace("slow", "waiting")
    for name, how in WAITING.items():
        service += f"""
    class Waiting_{name}(Waiting):
        def wait(self):
            {how}
        """
        fixtures += f"    {name} = service_fixture(waiting.Waiting_{name})\n"
        tests += f"def test_{name}({name}): pass\ndef test_{name}_again({name}): pass\n"
    repository.write("waiting.py", service)
    repository.write("tests/conftest.py", fixtures)
    repository.write("tests/test_it.py", tests)
    result = repository.run("-W", "error", "--durations=0", "-vv")
    assert_nothing_left(result, passed=2 * len(WAITING))
    # What one test has shown is known to the next.
    seconds = re.findall(r"([\d.]+)s setup .*_again", result.stdout.str())
    assert [s for s in seconds if float(s) > 0.5] == []


def test_the_stack_that_is_named_is_of_one_moment(monkeypatch):
    first, reached, second = (threading.Event() for _ in range(3))

    def move_on(_frame):
        first.set()
        assert reached.wait(10)
        return False

    def stand():
        first.wait()
        reached.set()
        second.wait()

    monkeypatch.setattr(cleanup, "_is_around_service", move_on)
    thread = threading.Thread(target=stand)
    thread.start()
    try:
        stack = cleanup._inner_stack_of(thread)
    finally:
        second.set()
        thread.join()
    assert "first.wait()" in stack
    assert "second.wait()" not in stack
    assert "reached.set()" not in stack
