"""What a service leaves running ends with its test, or is named."""

import signal
import subprocess

import pytest
from helpers.drop_in import assert_nothing_left
from helpers.thermostat import SLOW, THERMOSTAT, WIRING
from mqtt_testing.services.programs import Programs

pytestmark = pytest.mark.usefixtures("few_plugins")


class TestLeftovers:
    def test_a_callback_that_blocks_its_network_loop_is_interrupted(self, repository):
        repository.write(
            "thermostat.py",
            THERMOSTAT
            + """
    class Blocked(Thermostat):
        def __init__(self, room):
            self.active = threading.Event()
            self.connected = threading.Event()
            self.client = Client(*ARGUMENTS)
            self.client.on_connect = self._sleep_in_a_callback
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.loop_start()
            assert self.connected.wait(10), "no CONNACK"

        def _sleep_in_a_callback(self, *_args):
            self.connected.set()
            time.sleep(100)

        def shut_down(self): pass
""",
        )
        repository.write("tests/conftest.py", WIRING.replace("Thermostat", "Blocked"))
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    threads = []

    def test_one(thermostat): threads.append(thermostat.client._thread)
    def test_two(shared_mqtt_pool):
        assert not threads[0].is_alive()
        assert shared_mqtt_pool.ref_count == 0
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_everything_that_it_leaves_behind_is_ended(self, repository):
        repository.write(
            "thermostat.py",
            THERMOSTAT.replace("self.ended += 1", "return")
            + """
    import asyncio, multiprocessing, subprocess
    from concurrent.futures import ThreadPoolExecutor

    def hang():
        while True: time.sleep(1)

    class Messy(Thermostat):
        def make_a_mess(self):
            self.pool = ThreadPoolExecutor(3)
            self.pool.submit(hang)
            self.pool.submit(threading.Event().wait)
            self.timer = threading.Timer(60, hang)
            self.timer.start()
            self.loop = asyncio.new_event_loop()
            self.looping = threading.Thread(target=self.loop.run_forever)
            self.looping.start()
            self.child = multiprocessing.get_context("fork").Process(target=hang)
            self.child.start()
            self.program = subprocess.Popen(["sleep", "600"])
            self.pool.submit(self.program.wait)
            self.processes = multiprocessing.get_context("fork").Pool(1)
            self.processes.apply_async(hang)
            for _ in range(3):
                client = Client(*ARGUMENTS, client_id="thermostat")
                client.connect("mqtt.example.invalid", 1883)
                client.loop_start()
""",
        )
        repository.write("tests/conftest.py", WIRING.replace("Thermostat", "Messy"))
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    mess = []

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_one(thermostat):
        thermostat.test_enable_background_tasks()
        thermostat.make_a_mess()
        mess.append(thermostat)

    def test_two(shared_mqtt_pool):
        [service] = mess
        assert not service.timer.is_alive() and not service.looping.is_alive()
        assert not service.poller.is_alive() and not service.child.is_alive()
        assert service.program.returncode is not None
        assert [p for p in service.processes._pool if p.is_alive()] == []
        assert service.pool.submit(print).cancelled()
        assert shared_mqtt_pool.ref_count == 0
        service.loop.close()
        targets = {getattr(t, "_target", None) for t in threading.enumerate()}
        network_loops = {t for t in targets if getattr(t, "__name__", "") == "_thread_main"}
        assert len(network_loops) == 1  # the shared connection's
        assert targets - network_loops == {None}  # the main thread
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=2)
        assert result.stderr.str() == ""

    def test_a_program_that_a_thread_is_about_to_start_is_ended(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import subprocess

    programs, begun = [], threading.Event()

    def start():
        begun.set()
        time.sleep(0.1)  # until the service is being ended
        programs.append(subprocess.Popen(["sleep", "600"]))
        programs[0].wait()

    def test_one(thermostat):
        threading.Thread(target=start).start()
        assert begun.wait(10)

    def test_two(): assert programs[0].poll() is not None
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=2)

    def test_a_pool_of_a_fork_server_is_older_than_the_service(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import multiprocessing

    @pytest.fixture(scope="module")
    def pool():  # multiprocessing has more to finalize: a folder of the fork server's
        with multiprocessing.get_context("forkserver").Pool(1) as pool:
            yield pool

    def test_one(pool): assert pool.apply(abs, [-1]) == 1
    def test_two(pool, thermostat): assert pool.apply(abs, [-2]) == 2
    def test_three(pool): assert pool.apply(abs, [-3]) == 3
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=3)

    def test_what_is_older_than_the_service_goes_on(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import http.client, http.server
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    import multiprocessing

    threads = ThreadPoolExecutor(1)
    processes = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    event = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.send_response(204)
            self.end_headers()
        def log_message(self, *args): pass

    @pytest.fixture(scope="module")
    def connection():
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            connection = http.client.HTTPConnection(*server.server_address, timeout=10)
            yield connection
            connection.close()
            server.shutdown()
            serving.join()

    @pytest.fixture(scope="module")
    def waiter():
        thread = threading.Thread(target=event.wait)
        thread.start()
        yield thread
        event.set()
        thread.join()

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    @pytest.mark.parametrize("number", range(3))
    def test_it(connection, waiter, thermostat, number):
        assert threads.submit(int, "7").result(10) == 7
        assert processes.submit(int, "7").result(10) == 7
        connection.request("GET", "/")
        assert connection.getresponse().read() == b""
        threading.Thread(target=event.wait).start()  # which is interrupted, but not the waiter
        assert waiter.is_alive()

    def test_the_waiter_was_not_woken(waiter): assert waiter.is_alive()
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=4)

    def test_a_timer_that_arms_another_as_it_ends_is_ended(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    began = threading.Event()

    def tick():
        try:
            began.set()
            time.sleep(60)
        finally:
            threading.Timer(0.01, tick).start()

    def test_one(thermostat):
        threading.Timer(0, tick).start()
        assert began.wait(10)

    def test_two():
        began.clear()
        assert not began.wait(0.1)
        assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_one_that_always_has_a_successor_is_named(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    over = threading.Event()

    def work():
        try:
            while not over.is_set(): time.sleep(0.001)
        finally:
            if not over.is_set():
                threading.Thread(target=work, name="successor").start()

    def test_one(thermostat): threading.Thread(target=work, name="first").start()
    def test_two(): over.set()
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["tests/test_it.py::test_one: thread successor runs on.*"])

    def test_processes_of_a_constructor_that_fails_are_ended(self, repository):
        repository.write(
            "thermostat.py",
            THERMOSTAT
            + """
    import multiprocessing, subprocess

    started = []

    def hang():
        while True: time.sleep(1)

    class Failing(Thermostat):
        def __init__(self, room):
            started.append(multiprocessing.get_context("fork").Process(target=hang))
            started[0].start()
            started.append(subprocess.Popen(["sleep", "600"]))
            raise OSError("no sensor")
""",
        )
        repository.write("tests/conftest.py", WIRING.replace("Thermostat", "Failing"))
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    from thermostat import started

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_one(thermostat): pass

    def test_two():
        child, program = started
        assert not child.is_alive() and program.returncode is not None
            """,
        )
        repository.run("-W", "error").assert_outcomes(errors=1, passed=1)

    def test_a_broker_that_the_test_starts_anew_is_none_of_them(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    def test_one(thermostat, test_mqtt_broker):
        test_mqtt_broker.restart()
        NOTES.append(test_mqtt_broker.pid)

    def test_two(test_mqtt_broker):
        assert NOTES == [test_mqtt_broker.pid]

    NOTES = []
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_nobody_keeps_it_after_its_test(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import gc, weakref
    kept = []
    def test_one(thermostat):
        thermostat.test_enable_background_tasks()
        kept.append(weakref.ref(thermostat))
    def test_two():
        gc.collect()
        assert kept[0]() is None
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_what_another_service_of_the_test_needs_is_left_to_it(self, repository):
        repository.write(
            "pair.py",
            """
    import queue, threading

    class Member:
        def __init__(self):
            self.orders = queue.Queue()
            self.done = []
            self.ticker = threading.Thread(target=self.work)
            self.ticker.start()  # held
            self.clerk = None

        def ask(self):
            self.clerk = threading.Thread(target=self.work)
            self.clerk.start()

        def work(self):
            self.orders.get()
            self.done.append(threading.current_thread())

        def stop(self):
            workers = [self.clerk, self.ticker]
            for _ in workers:
                self.orders.put(None)
            for worker in workers:
                worker.join()
            assert len(self.done) == 2, "a worker was interrupted"
""",
        )
        repository.write(
            "tests/conftest.py",
            """
    from optimized_service_fixture import service_fixture
    from pair import Member

    one, other, third = (service_fixture(Member, cleanup="stop") for _ in range(3))
            """,
        )
        repository.write(
            "tests/test_it.py",
            """
    import pytest

    @pytest.mark.parametrize("n", range(5))
    def test_all(one, other, third, n):
        for member in (third, one, other):
            member.test_enable_background_tasks()
            member.ask()
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=5)

    def test_what_a_service_starts_while_another_is_built_is_not_held(self, repository):
        repository.write(
            "pair.py",
            """
    import threading

    class Clock:
        def __init__(self):
            self.ticks = threading.Semaphore(0)
            self.go_on = threading.Event()

        def run(self):
            while self.go_on.wait():
                self.go_on.clear()
                threading.Thread(target=self.tick).start()

        def tick(self):
            self.ticks.release()

    class Slow:
        def __init__(self, clock):
            clock.go_on.set()
            # A second later, what is held is started.
            assert clock.ticks.acquire(timeout=0.9), "the clock's thread was held"
""",
        )
        repository.write(
            "tests/conftest.py",
            """
    from optimized_service_fixture import service_fixture
    from pair import Clock, Slow

    clock, slow = service_fixture(Clock, run="run"), service_fixture(Slow)
            """,
        )
        repository.write("tests/test_it.py", "def test_it(slow): pass")
        assert_nothing_left(repository.run("-W", "error"), passed=1)

    def test_a_test_may_leak_on_purpose(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    left, go_on = [], threading.Event()

    @pytest.mark.leaks_on_purpose
    def test_one(thermostat):
        left.append(threading.Thread(target=go_on.wait))
        left[0].start()

    def test_two(thermostat): assert left[0].is_alive()
            """,
        )
        result = repository.run("-W", "error", "--strict-markers")
        result.assert_outcomes(passed=2)
        result.stdout.no_fnmatch_line("*left behind*")
        result.stdout.fnmatch_lines(["*runs on after the last test; *test_one*"])

    def test_what_cannot_be_ended_is_named_once_with_its_test_and_its_stack(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    from concurrent.futures import ThreadPoolExecutor

    lock = threading.Lock()
    lock.acquire()

    def hold(): lock.acquire()

    def test_one(thermostat): threading.Thread(target=hold, name="stubborn").start()
    def test_two(thermostat):
        thermostat.pool = ThreadPoolExecutor(1, "blocked")
        thermostat.pool.submit(hold)
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["*::test_one: thread stubborn runs on.*", "*in hold*"])
        result.stdout.fnmatch_lines(["*::test_two: blocked_0 runs on after *", "*in hold*"])
        for name in ("stubborn", "blocked_0"):
            assert result.stdout.str().count(f"{name} runs on") == 1


def test_a_program_whose_start_is_interrupted():
    class Interrupted(subprocess.Popen):
        def _execute_child(self, *args):
            super()._execute_child(*args)
            begun.append(self)
            raise SystemExit

    begun = []
    with Programs() as programs:
        with pytest.raises(SystemExit):
            Interrupted(["sleep", "600"])
        with pytest.raises(FileNotFoundError):
            subprocess.Popen(["no-such-program"])
        programs.end()
    assert begun[0].returncode == -signal.SIGKILL
