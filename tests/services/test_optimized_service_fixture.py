import sys

import pytest
from helpers.drop_in import (
    ALL_MODULES,
    Repository,
    assert_nothing_left,
    few_plugins,  # noqa: F401
)

pytestmark = pytest.mark.usefixtures("few_plugins")

THERMOSTAT = """
    import os, threading, time
    from paho.mqtt.client import Client

    try:
        from paho.mqtt.client import CallbackAPIVersion
        ARGUMENTS = [CallbackAPIVersion.VERSION2]
    except ImportError:
        ARGUMENTS = []

    class Thermostat:
        def __init__(self, room):
            self.room = room
            self.temperature = None
            self.ended = 0
            self.active = threading.Event()
            self.active.set()
            self.client = Client(*ARGUMENTS, client_id="thermostat")
            self.client.on_message = self._heard
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.subscribe("sensor/#")
            self.client.loop_start()
            self.poller = threading.Thread(target=self._poll_for_ever, name="poller")
            self.poller.start()

        def _heard(self, client, userdata, message):
            self.temperature = float(message.payload)

        def _poll_for_ever(self):
            while self.active.is_set():
                self._poll()
                time.sleep(60)

        def _poll(self):
            if not self.active.is_set():
                return None
            self.client.publish("thermostat/state", "polled", retain=True)
            return "polled"

        async def refresh(self):
            return "refreshed"

        def shut_down(self):
            self.ended += 1
            self.active.clear()
            time.sleep(30)
            self.poller.join()
            self.client.loop_stop()
            self.client.disconnect()
"""

WIRING = """
    import pytest
    from optimized_service_fixture import override_fixture, service_fixture
    from shared_mqtt_pool import mqtt_client, mqtt_monitor
    from thermostat import Thermostat

    @pytest.fixture
    def room(): return "kitchen"

    fast_thermostat = service_fixture(
        Thermostat,
        tasks={"run_poll_once": "_poll", "refresh_once": "refresh"},
        running="active",
        cleanup="shut_down",
    )
    override_fixture("thermostat", fast_thermostat)
"""

SLOW = """
    import pytest, threading, time

    @pytest.fixture
    def thermostat():
        raise AssertionError("the slow fixture was used")
"""


@pytest.fixture
def repository(pytester):
    modules = [name for name in ALL_MODULES if not name.startswith("camera")]
    repository = Repository(pytester, modules)
    repository.write("thermostat.py", THERMOSTAT)
    return repository.write("tests/conftest.py", WIRING)


class TestService:
    def test_is_built_by_its_own_constructor_and_at_rest(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    def test_it(thermostat, mqtt_monitor):
        assert thermostat.room == "kitchen"
        assert not thermostat.poller.is_alive()
        mqtt_monitor.assert_none("#")
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_hears_what_others_publish(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    def test_it(thermostat, mqtt_client):
        mqtt_client.publish("sensor/1", "21.5", qos=1).wait_for_publish(5)
        deadline = time.monotonic() + 5
        while thermostat.temperature is None: assert time.monotonic() < deadline
        assert thermostat.temperature == 21.5
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("when", ["in_a_callback", "after_its_connection"])
    def test_hears_it_from_the_first_moment_on(self, repository, when):
        """Though what it subscribes to waits for a callback to end."""
        connecting = {
            "in_a_callback": """\
            up, self.go_on = threading.Event(), threading.Event()
            def on_connect(client, *args):
                client.subscribe("sensor/#")
                up.set()
                self.go_on.wait(0.5)
            self.client.on_connect = on_connect
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.loop_start()
            assert up.wait(5)
""",
            "after_its_connection": """\
            up, self.go_on = threading.Event(), threading.Event()
            def on_publish(client, *args):
                client.on_publish = None
                up.set()
                self.go_on.wait(0.5)
            self.client.on_publish = on_publish
            self.client.on_connect = lambda client, *args: client.publish("up", qos=1)
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.loop_start()
            assert up.wait(5)
            self.client.subscribe("sensor/#")
""",
        }[when]
        before, _, after = THERMOSTAT.partition("            self.client.connect(")
        after = after.partition("self.client.loop_start()\n")[2]
        repository.write("thermostat.py", before + connecting + after)
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    def test_it(mqtt_client, thermostat):
        mqtt_client.publish("sensor/1", "21.5", qos=1).wait_for_publish(5)
        thermostat.go_on.set()
        deadline = time.monotonic() + 5
        while thermostat.temperature is None: assert time.monotonic() < deadline
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_runs_a_task_and_gives_its_result(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    def test_it(thermostat, mqtt_monitor):
        assert thermostat.run_poll_once() == "polled"
        mqtt_monitor.wait_for("thermostat/state")

    def test_stopped(thermostat):
        thermostat.active.clear()
        assert thermostat.run_poll_once() == "polled"
        assert not thermostat.active.is_set()

    def test_async(thermostat):
        assert thermostat.refresh_once() == "refreshed"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=3)

    def test_is_cleaned_up_once_and_without_its_pauses(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    services = []

    def test_left_to_the_fixture(thermostat): services.append(thermostat)
    def test_it_was(): assert [s.ended for s in services] == [1]
    def test_done_by_the_test(thermostat, monkeypatch):
        services[:] = [thermostat]
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", lambda _seconds: None)
            thermostat.shut_down()
    def test_it_was_not_done_again(): assert [s.ended for s in services] == [1]
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=4)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_its_cleanup_may_talk_to_its_own_threads(self, repository, enabled):
        repository.write(
            "worker.py",
            """
            import asyncio, queue, threading

            class Worker:
                def __init__(self):
                    self.done = []
                    self.jobs = queue.Queue()
                    self.thread = threading.Thread(target=self._work)
                    self.thread.start()

                def _work(self):
                    job = 0
                    while job is not None:
                        job = self.jobs.get()
                        self.done.append(job)
                        self.jobs.task_done()

                def stop(self):
                    self.jobs.put(1)
                    self.jobs.put(None)
                    self.jobs.join()
                    self.thread.join()

            class Gateway:
                def __init__(self):
                    self.done = []
                    self.loop = asyncio.new_event_loop()
                    self.thread = threading.Thread(target=self._run)
                    self.thread.start()

                def _run(self):
                    self.loop.run_forever()

                async def _say_goodbye(self):
                    self.done += [1, None]

                def stop(self):
                    asyncio.run_coroutine_threadsafe(self._say_goodbye(), self.loop).result()
                    self.loop.call_soon_threadsafe(self.loop.stop)
                    self.thread.join()
                    self.loop.close()

            class Sleeper:
                def __init__(self):
                    self.done = [1, None]
                    self.thread = threading.Thread(target=self._sleep)
                    self.thread.start()

                def _sleep(self):
                    threading.Event().wait(60)

                def stop(self):
                    self.thread.join()
            """,
        )
        repository.write(
            "tests/test_it.py",
            f"""
            import pytest, threading
            from optimized_service_fixture import service_fixture
            from worker import Gateway, Sleeper, Worker

            worker, gateway, sleeper = map(service_fixture, (Worker, Gateway, Sleeper))
            results = []

            @pytest.mark.parametrize("name", ["worker", "gateway", "sleeper"])
            def test_one(request, name):
                service = request.getfixturevalue(name)
                results.append(service.done)
                if {enabled}:
                    service.test_enable_background_tasks()

            def test_all_were_cleaned_up():
                assert results == [[1, None]] * 3
                names = [thread.name for thread in threading.enumerate()]
                assert not [name for name in names if name.endswith(("(_work)", "(_run)"))]
            """,
        )
        assert_nothing_left(repository.run("-W", "error"), passed=4)

    def test_a_task_runs_where_the_test_mocks_events(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    from unittest import mock

    def test_it(thermostat):
        with mock.patch("threading.Event"):
            assert thermostat.run_poll_once() == "polled"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_is_connected_from_the_first_moment_on(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    @pytest.mark.parametrize("n", range(40))
    def test_it(thermostat, n): assert thermostat.client.is_connected()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=40)

    def test_a_broker_that_is_restarted_serves_the_next_test(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    def test_one(thermostat, session_mqtt_broker, mqtt_monitor):
        session_mqtt_broker.restart()
        mqtt_monitor.clear()

    def test_two(mqtt_client, mqtt_monitor):
        mqtt_client.publish("a", "1")
        mqtt_monitor.wait_for("a")
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_a_callback_that_blocks_its_network_loop_is_interrupted(self, repository):
        repository.write(
            "thermostat.py",
            THERMOSTAT
            + """
    class Blocked(Thermostat):
        def __init__(self, room):
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

    def test_threads_of_the_low_level_module_are_as_others(self, repository):
        repository.write(
            "tests/conftest.py",
            WIRING.replace(
                "    fast_thermostat = ",
                """
    import _thread, threading, time

    runs, over, lock = threading.Event(), threading.Event(), threading.Lock()

    def work(seconds):
        runs.set()
        try:
            while True: time.sleep(seconds)
        finally:
            over.set()

    class Thermostat(Thermostat):
        def __init__(self, room):
            super().__init__(room)
            _thread.start_new_thread(work, (60,))

    fast_thermostat = """,
            ),
        )
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import _thread
    from conftest import lock, over, runs, work

    def test_held(thermostat): assert not runs.is_set()
    def test_enabled(thermostat):
        thermostat.test_enable_background_tasks()
        assert runs.wait(10)
        assert not over.is_set()
    def test_ended_with_the_last_test():
        assert over.is_set()
        over.clear()
    def test_started_by_the_test(thermostat):
        assert _thread.start_new_thread(work, (), {"seconds": 60})
    def test_ended_too(): assert over.is_set()
    def test_stuck(thermostat):
        lock.acquire()
        _thread.start_new_thread(lock.acquire, ())
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=6)
        result.stdout.fnmatch_lines(["tests/test_it.py::test_stuck: thread * runs on.*"])

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

    def test_a_service_that_is_a_client_itself(self, repository):
        repository.write(
            "thermostat.py",
            THERMOSTAT
            + """
    class Direct(Client):
        def __init__(self, room):
            super().__init__(*ARGUMENTS)
            up = threading.Event()
            self.on_connect = lambda *args: up.set()
            self.connect("mqtt.example.invalid")
            self.loop_start()
            assert up.wait(5)
            """,
        )
        repository.write("tests/conftest.py", WIRING.replace("Thermostat", "Direct"))
        repository.write(
            "tests/test_it.py",
            SLOW + "\n    def test_it(thermostat): assert thermostat.is_connected()\n",
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_an_async_task_in_an_async_test(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import asyncio

    def test_it(thermostat):
        async def ask(): return await thermostat.refresh_once()
        assert asyncio.run(ask()) == "refreshed"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_other_brokers_and_dead_ports_are_what_the_test_means(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    import socket
    from mqtt_test_broker import isolated_mqtt_broker
    from thermostat import ARGUMENTS, Client

    def test_another_broker(thermostat, isolated_mqtt_broker):
        client = Client(*ARGUMENTS, client_id="visitor")
        client.connect(isolated_mqtt_broker.host, isolated_mqtt_broker.port)
        client.loop_start()
        deadline = time.monotonic() + 5
        while not client.is_connected(): assert time.monotonic() < deadline
        assert "as visitor" in isolated_mqtt_broker.log

    def test_a_dead_port(thermostat):
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                Client(*ARGUMENTS).connect("127.0.0.1", dead.getsockname()[1])
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

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
        result.stdout.no_fnmatch_line("*runs on*")

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

    def test_slots_are_refused(self, repository):
        repository.write(
            "thermostat.py",
            "class Thermostat:\n    __slots__ = ()\n    def __init__(self, room): pass\n",
        )
        repository.write("tests/test_it.py", SLOW + "\n    def test_it(thermostat): pass\n")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*Thermostat has __slots__*give service_fixture a subclass*"])


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


class TestOverride:
    TEST = "\n    def test_it(thermostat): assert thermostat.room == 'kitchen'\n"

    def test_in_a_module(self, repository):
        repository.write("tests/test_it.py", SLOW + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_nowhere_where_the_environment_says_so(self, repository, monkeypatch):
        monkeypatch.setenv("CAMERA_DETECTOR_FIXTURE", "original")
        repository.write("tests/test_it.py", SLOW + "    def test_it(thermostat): pass\n")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*the slow fixture was used*"])
        result.stdout.no_fnmatch_line("*nothing was overridden*")

    def test_under_another_function_name(self, repository):
        slow = SLOW.replace("@pytest.fixture", '@pytest.fixture(name="thermostat")')
        slow = slow.replace("def thermostat", "def make_thermostat")
        repository.write("tests/test_it.py", slow + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_imported_from_elsewhere(self, repository):
        repository.write("tests/slow.py", SLOW)
        repository.write("tests/test_it.py", "    from slow import thermostat\n" + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_in_a_class_and_its_base(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            class Base:
                @pytest.fixture
                def thermostat(self): raise AssertionError("slow")

            class TestInherited(Base):
                def test_it(self, thermostat): assert thermostat.room == "kitchen"

            class TestOwn:
                @pytest.fixture
                def thermostat(self): raise AssertionError("slow")
                def test_it(self, thermostat): assert thermostat.room == "kitchen"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_in_a_conftest(self, repository):
        repository.write("tests/conftest.py", WIRING + SLOW.replace("import pytest, ", "import "))
        repository.write("tests/test_it.py", self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_in_many_modules_classes_and_subclasses(self, repository):
        for number in range(3):
            repository.write(
                f"tests/test_{number}.py",
                SLOW
                + self.TEST
                + """
    class TestClass:
        @pytest.fixture
        def thermostat(self): raise AssertionError("slow")
        def test_it(self, thermostat): assert thermostat.room == "kitchen"

        class TestNested:
            @pytest.fixture(name="thermostat")
            def another(self): raise AssertionError("slow")
            def test_it(self, thermostat): assert thermostat.room == "kitchen"

    class TestSubclass(TestClass):
        @pytest.fixture
        def thermostat(self): raise AssertionError("slow")
                """,
            )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=15)
        result.stdout.no_fnmatch_line("*fixture overrides*")

    def test_in_a_base_class_that_two_modules_share(self, repository):
        repository.write(
            "tests/base.py",
            """
            import pytest
            class Base:
                @pytest.fixture
                def thermostat(self): raise AssertionError("slow")
            """,
        )
        for number in range(2):
            repository.write(
                f"tests/test_{number}.py",
                """
                from base import Base
                class Test(Base):
                    def test_it(self, thermostat): assert thermostat.room == "kitchen"
                """,
            )
        repository.run("-W", "error").assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        ("option", "body", "test", "reason"),
        [
            (
                "params=[1]",
                "return 'slow'",
                "def test_it(thermostat): assert thermostat == 'slow'",
                "it is parametrized",
            ),
            (
                "",
                "return request.param",
                "@pytest.mark.parametrize('thermostat', ['slow'], indirect=True)\n"
                "def test_it(thermostat): assert thermostat == 'slow'",
                "it is parametrized",
            ),
            (
                "autouse=True",
                "request.node.is_slow = True",
                "def test_it(request): assert request.node.is_slow",
                "it is autouse",
            ),
            (
                "scope='class'",
                "request.cls.service = 'slow'",
                "import unittest\n"
                "@pytest.mark.usefixtures('thermostat')\n"
                "class TestIt(unittest.TestCase):\n"
                "    def test_it(self): assert self.service == 'slow'",
                "it gives the class something",
            ),
            (
                "scope='module'",
                "return 'slow'",
                "@pytest.fixture(scope='module')\n"
                "def house(thermostat): return [thermostat]\n"
                "def test_it(house): assert house == ['slow']",
                "the fixture house uses it, and the fast thermostat is one test's own",
            ),
        ],
        ids=["parametrized", "indirectly", "autouse", "unittest", "scope"],
    )
    def test_what_cannot_be_replaced_works_as_before_and_is_told(
        self, repository, option, body, test, reason
    ):
        repository.write(
            "tests/test_it.py",
            f"import pytest\n@pytest.fixture({option})\ndef thermostat(request): {body}\n{test}\n",
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [f"thermostat in tests/test_it.py was left as it is: {reason}*"]
        )

    def test_a_fixture_with_params_takes_the_place_of_one_that_has_them(self, repository):
        variants = """
    @pytest.fixture(params=[18, 21])
    def thermostat_variants(request, fast_thermostat):
        fast_thermostat.temperature = request.param
        return fast_thermostat
    override_fixture("thermostat", thermostat_variants)
        """
        repository.write("tests/conftest.py", WIRING + variants)
        slow = SLOW.replace("@pytest.fixture", "@pytest.fixture(params=[18, 21])")
        test = "\n    def test_it(thermostat): assert thermostat.temperature in (18, 21)\n"
        repository.write("tests/test_it.py", slow + test)
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_a_wider_fixture_that_asks_for_it_unseen_is_told_what_to_do(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW.replace("@pytest.fixture", "@pytest.fixture(scope='module')")
            + """
    @pytest.fixture(scope="module")
    def house(request): return request.getfixturevalue("thermostat")

    def test_it(house): pass
            """,
        )
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*- what to do -*", "the fast thermostat is one test's own*"])

    def test_the_fakes_of_the_slow_one_are_set_up(self, repository):
        slow = SLOW.replace("def thermostat():", "def thermostat(fake_sensors, slow_mqtt_broker):")
        repository.write(
            "tests/test_it.py",
            slow
            + """
    fakes = []
    @pytest.fixture
    def fake_sensors(): fakes.append("sensors")
    @pytest.fixture
    def slow_mqtt_broker(): raise AssertionError("the slow broker was started")

    def test_it(thermostat): assert fakes == ["sensors"]
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_one_that_extends_the_fast_one_is_left_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            @pytest.fixture
            def thermostat(fast_thermostat):
                fast_thermostat.temperature = 21
                return fast_thermostat

            def test_it(thermostat): assert thermostat.temperature == 21
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_one_that_extends_the_slow_one_is_left_and_told(self, repository):
        slow = SLOW.replace("def thermostat():", "def thermostat(thermostat):")
        repository.write("tests/test_it.py", slow + "\n    def test_it(thermostat): pass\n")
        result = repository.run()
        result.stdout.fnmatch_lines(["thermostat in tests/test_it.py was left as it is: it ext*"])

    def test_what_answers_to_every_attribute_is_no_fixture(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    from unittest.mock import MagicMock
    class Proxy:
        def __getattr__(self, name): raise RuntimeError("outside of request context")
    request, mock = Proxy(), MagicMock()

    def test_it(thermostat): assert thermostat.room == "kitchen"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("scope", ["class", "module", "session"])
    def test_of_a_wider_scope(self, repository, scope):
        slow = SLOW.replace("@pytest.fixture", f"@pytest.fixture(scope={scope!r})")
        repository.write("tests/test_it.py", slow + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.skipif(
        pytest.version_tuple < (8, 4) or sys.version_info < (3, 10),
        reason="pytest refuses them itself",
    )
    @pytest.mark.parametrize("kind", ["classmethod", "staticmethod"])
    def test_methods_that_need_no_instance(self, repository, kind):
        repository.write(
            "tests/test_it.py",
            f"""
            import pytest

            class TestIt:
                @pytest.fixture(scope="class")
                @{kind}
                def thermostat(*args): raise AssertionError("slow")
                def test_it(self, thermostat): assert thermostat.room == "kitchen"
            """.replace("*args", "cls" if kind == "classmethod" else ""),
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_what_is_no_fixture_is_left_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import thermostat
            def test_it(): assert thermostat.Thermostat
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_a_module_that_cannot_be_imported_is_reported_as_always(self, repository):
        repository.write("tests/test_it.py", "import no_such_module")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*No module named 'no_such_module'*"])

    def test_a_module_that_fails_by_itself_is_reported_as_always(self, repository):
        repository.write("tests/test_it.py", "import pytest; pytest.fail('no', pytrace=False)")
        result = repository.run()
        result.stdout.no_fnmatch_line("*INTERNALERROR*")
        result.assert_outcomes(errors=1)

    def test_a_module_that_skips_itself_is_skipped(self, repository):
        repository.write(
            "tests/test_it.py", "import pytest; pytest.skip('no', allow_module_level=True)"
        )
        repository.run().assert_outcomes(skipped=1)

    def test_one_that_did_not_take_is_told(self, repository):
        repository.write(
            "plugin.py",
            "import pytest\n@pytest.fixture\ndef thermostat(): return None\n",
        )
        repository.write("tests/test_it.py", "def test_it(thermostat): pass")
        result = repository.run("-p", "plugin")
        result.stdout.fnmatch_lines(["thermostat: nothing was overridden.*"])

    def test_something_else_than_a_fixture_is_refused(self, repository):
        repository.write(
            "tests/conftest.py",
            """
            from optimized_service_fixture import override_fixture
            override_fixture("thermostat", print)
            """,
        )
        result = repository.run()
        result.stderr.fnmatch_lines(["*override_fixture('thermostat', ...) takes a fixture*"])


class TestOverridesOfFolders:
    """Each override returns a text, so that a test sees which one it got."""

    ASK = """
        import pytest
        from optimized_service_fixture import override_fixture

        @pytest.fixture
        def fast(): return "{0}"

        override_fixture("thermostat", fast)
    """

    @pytest.fixture
    def folders(self, repository):
        repository.write("tests/conftest.py", "")
        for name in ("attic", "bath", "cellar", "kitchen"):
            (repository.tests / name).mkdir()
        return repository

    @staticmethod
    def expect(repository, **texts):
        for name, text in texts.items():
            repository.write(
                f"tests/{name}/test_{name}.py",
                f"""
                import pytest

                @pytest.fixture
                def thermostat(): return "slow"

                class TestIt:
                    @pytest.fixture
                    def thermostat(self): return "slow"
                    def test_in_class(self, thermostat): assert thermostat == "{text}"

                def test_it(thermostat): assert thermostat == "{text}"
                """,
            )
        repository.run("-W", "error").assert_outcomes(passed=2 * len(texts))

    def test_each_has_its_own(self, folders):
        for name in ("kitchen", "bath"):
            folders.write(f"tests/{name}/conftest.py", self.ASK.format(name))
        self.expect(folders, kitchen="kitchen", bath="bath", cellar="slow")

    def test_the_nearest_one_wins(self, folders):
        folders.write("tests/conftest.py", self.ASK.format("everywhere"))
        folders.write("tests/bath/conftest.py", self.ASK.format("bath"))
        self.expect(folders, kitchen="everywhere", bath="bath", cellar="everywhere")

    def test_one_that_a_module_asks_for_counts_where_it_is_imported(self, folders):
        """The first one has it run; the others get the module that is there already."""
        folders.write("tests/wiring.py", self.ASK.format("wiring"))
        folders.write("tests/bath/conftest.py", "import wiring")
        folders.write("tests/cellar/conftest.py", "from wiring import fast")
        folders.write("tests/kitchen/conftest.py", "import wiring as w")
        self.expect(folders, attic="slow", bath="wiring", cellar="wiring", kitchen="wiring")

    def test_one_that_a_plugin_asks_for_counts_everywhere(self, folders):
        folders.write("tests/wiring.py", self.ASK.format("plugin"))
        folders.write("tests/conftest.py", "pytest_plugins = ['wiring']")
        self.expect(folders, kitchen="plugin", bath="plugin")

    @pytest.mark.parametrize("overridden", ["bath", "cellar", "kitchen"])
    def test_a_class_that_they_share_is_overridden_in_one_only(self, folders, overridden):
        folders.write(
            "tests/base.py",
            """
            import pytest
            class Base:
                @pytest.fixture
                def thermostat(self): return "slow"
            """,
        )
        for name in ("kitchen", "bath", "cellar"):
            expected = "fast" if name == overridden else "slow"
            folders.write(
                f"tests/{name}/test_{name}.py",
                f"""
                from base import Base
                class TestIt(Base):
                    def test_it(self, thermostat): assert thermostat == "{expected}"
                """,
            )
        folders.write(f"tests/{overridden}/conftest.py", self.ASK.format("fast"))
        folders.run("-W", "error").assert_outcomes(passed=3)

    def test_one_that_did_not_take_is_told_though_another_did(self, folders):
        folders.write("plugin.py", "import pytest\n@pytest.fixture\ndef thermostat(): pass\n")
        for name in ("kitchen", "bath"):
            folders.write(f"tests/{name}/conftest.py", self.ASK.format(name))
        folders.write("tests/bath/test_bath.py", "def test_it(thermostat): pass")
        folders.write("tests/kitchen/test_kitchen.py", "def test_it(): pass")
        result = folders.run("-p", "plugin")
        result.stdout.fnmatch_lines(["thermostat: nothing was overridden.*"])
        assert result.stdout.str().count("nothing was overridden") == 1

    def test_one_that_is_nowhere_the_nearest_is_not_missed(self, folders):
        folders.write("tests/conftest.py", self.ASK.format("everywhere"))
        folders.write("tests/bath/conftest.py", self.ASK.format("bath"))
        self.expect(folders, bath="bath")
        folders.run().stdout.no_fnmatch_line("*nothing was overridden*")
