import pytest
from helpers.drop_in import assert_nothing_left
from helpers.thermostat import SLOW, THERMOSTAT, WIRING

pytestmark = pytest.mark.usefixtures("few_plugins")


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

    def test_a_service_that_is_a_client_itself(self, repository):
        repository.write(
            "thermostat.py",
            THERMOSTAT
            + """
    class Direct(Client):
        active = True

        def _poll(self): pass
        def refresh(self): pass
        def shut_down(self): pass

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

    def test_slots_are_refused(self, repository):
        repository.write(
            "thermostat.py",
            "class Thermostat:\n    __slots__ = ()\n    def __init__(self, room): pass\n",
        )
        repository.write("tests/test_it.py", SLOW + "\n    def test_it(thermostat): pass\n")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*Thermostat has __slots__*give service_fixture a subclass*"])
