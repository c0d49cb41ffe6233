"""What comes after a test that has broken its broker."""

from textwrap import dedent

import pytest
from helpers.drop_in import Repository
from mqtt_testing.broker.binary import find_mosquitto


def deaths_reported(result):
    """Count the reports with a log; where CI is set, pytest repeats a message in its summary."""
    reports, _, _ = result.stdout.str().partition("short test summary info")
    return reports.count("The end of its log")


@pytest.mark.usefixtures("few_plugins")
class TestAfterwards:
    """The next test finds the broker running and empty, and the shared connection made again."""

    WIRING = """
        from mqtt_test_broker import session_mqtt_broker, test_mqtt_broker
        from shared_mqtt_pool import mqtt_client, mqtt_monitor, shared_mqtt_pool
    """

    @pytest.fixture
    def repository(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
        return repository.write("tests/conftest.py", self.WIRING)

    @pytest.mark.parametrize(
        "how", ["kill()", "stop()", "restart()", "pause()", "disconnect_clients()"]
    )
    def test_a_broker_that_a_test_broke(self, repository, how):
        repository.write(
            "tests/test_it.py",
            f"""
            import pytest

            PORTS = set()

            @pytest.mark.parametrize("n", range(3))
            def test_one(mqtt_client, mqtt_monitor, test_mqtt_broker, n):
                mqtt_client.publish("kept", "1", qos=1, retain=True).wait_for_publish(5)
                mqtt_monitor.wait_for("kept")
                test_mqtt_broker.{how}

            @pytest.mark.parametrize("n", range(3))
            def test_two(mqtt_client, mqtt_monitor, test_mqtt_broker, shared_mqtt_pool, n):
                PORTS.add(test_mqtt_broker.port)
                assert len(PORTS) == 1
                assert not shared_mqtt_pool.watch().know_retained()
                assert mqtt_monitor.messages == []
                mqtt_client.publish("a", "1")
                mqtt_monitor.wait_for("a")
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=6)

    DEATH = """
        import os, signal
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_before(mqtt_client, n): pass

        def test_death(mqtt_client, test_mqtt_broker):
            os.kill(test_mqtt_broker.pid, signal.SIGSEGV)
            while test_mqtt_broker.is_running(): pass
            {then}

        @pytest.mark.parametrize("n", range(200))
        def test_after(mqtt_client, mqtt_monitor, n):
            mqtt_client.publish("a", "1")
            mqtt_monitor.wait_for("a")
    """

    @pytest.mark.slow
    @pytest.mark.parametrize("then", ["pass", "assert False", "raise OSError"])
    def test_a_sudden_death_is_one_failure_however_many_tests_follow(self, repository, then):
        repository.write("tests/test_it.py", dedent(self.DEATH).format(then=then))
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=203, failed=1)
        lines = [
            "The broker died: mosquitto ended with status -11. That is SIGSEGV. The end of its*",
            "*New client connected*",
        ]
        result.stdout.fnmatch_lines(lines)
        assert deaths_reported(result) == 1

    def test_a_death_that_comes_with_the_teardown_is_an_error(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import os, signal
            import pytest

            @pytest.fixture
            def killed_late(test_mqtt_broker):
                yield
                os.kill(test_mqtt_broker.pid, signal.SIGSEGV)
                while test_mqtt_broker.is_running(): pass

            def test_one(killed_late): pass
            def test_two(test_mqtt_broker): assert test_mqtt_broker.answers()
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=2, errors=1)
        assert deaths_reported(result) == 1

    WIDER = """
        import os, queue
        import paho.mqtt.client as mqtt
        import pytest

        class Echo:
            def __init__(self, broker):
                version = getattr(mqtt, "CallbackAPIVersion", None)
                self.client = mqtt.Client(*([version.VERSION2] if version else []))
                self.client.reconnect_delay_set(min_delay=0.01, max_delay=0.01)
                self.ready, self.messages = queue.Queue(), queue.Queue()
                self.client.on_connect = lambda client, *_: client.subscribe("echo", 1)
                self.client.on_subscribe = lambda *_: self.ready.put(True)
                self.client.on_message = lambda *args: self.messages.put(args[2].payload)
                self.client.connect(broker.host, broker.port)
                self.client.loop_start()

            def passes(self):
                self.ready.get(timeout=10)
                self.client.publish("echo", "1", qos=1)
                assert self.messages.get(timeout=10) == b"1"
                self.ready.put(True)

        {fixture}

        @pytest.fixture(scope="{scope}")
        def echo(session_mqtt_broker):
            echo = Echo(session_mqtt_broker)
            yield echo
            echo.client.disconnect()
            echo.client.loop_stop()

        @pytest.mark.parametrize("n", range(50))
        def test_one(session_mqtt_broker, echo, n):
            echo.passes()
            if n % 5 == 3:
                echo.ready.get(timeout=10)
                {how}

        @pytest.mark.parametrize("n", range(5))
        def test_two(echo, n):
            echo.passes()
    """
    UNEXPECTED = "os.kill(session_mqtt_broker.pid, 9); session_mqtt_broker.wait_for_ready(5)"

    @pytest.mark.slow
    @pytest.mark.parametrize("scope", ["session", "module"])
    @pytest.mark.parametrize("how", ["kill()", "stop()", "restart()"])
    def test_clients_of_a_wider_scope_find_it_running_as_well(self, repository, scope, how):
        code = dedent(self.WIDER).format(scope=scope, how=f"session_mqtt_broker.{how}", fixture="")
        repository.write("tests/test_it.py", code)
        repository.run("-W", "error").assert_outcomes(passed=55)

    OVERRIDDEN = """
        from mqtt_test_broker import TestMQTTBroker

        @pytest.fixture(scope="session")
        def session_mqtt_broker():
            with TestMQTTBroker() as broker:
                yield broker
    """

    @pytest.mark.parametrize("number", [0, 3])
    @pytest.mark.parametrize("fixture", ["", OVERRIDDEN], ids=["ours", "a user's"])
    def test_a_sudden_death_is_told_where_only_wider_fixtures_know_the_broker(
        self, repository, fixture, number
    ):
        code = dedent(self.WIDER).format(
            scope="session", how=self.UNEXPECTED, fixture=dedent(fixture)
        )
        repository.write("tests/test_it.py", code.replace("n % 5 == 3", f"n == {number}"))
        result = repository.run("-W", "error", "--tb=short")
        result.assert_outcomes(passed=54, failed=1)
        result.stdout.fnmatch_lines(["The broker died: mosquitto ended with status -9.*"])
        result.stdout.no_fnmatch_line("*mosquitto died between two tests*")
        assert deaths_reported(result) == 2  # what the test has asked for, and its report

    @pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "xdist"])
    def test_a_death_after_the_last_test_is_told(self, repository, options):
        repository.write(
            "tests/test_it.py",
            """
            import os, signal
            import pytest

            @pytest.fixture(scope="session")
            def killed_late(session_mqtt_broker):
                yield
                os.kill(session_mqtt_broker.pid, signal.SIGSEGV)
                while session_mqtt_broker.is_running(): pass

            def test_one(killed_late): pass
            """,
        )
        result = repository.run(*options)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*mosquitto died between two tests*", "*status -11*"])

    def test_one_that_is_paused_does_not_keep_an_interrupted_run(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            def test_one(mqtt_client, mqtt_monitor, test_mqtt_broker, isolated_mqtt_broker):
                test_mqtt_broker.pause()
                isolated_mqtt_broker.pause()
                raise KeyboardInterrupt
            """,
        )
        result = repository.run()
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert result.duration < 5  # seconds; an answer would be awaited for so long
        result.stdout.no_fnmatch_line("*MQTT connection failed*")

    def test_a_broker_that_cannot_be_started_again_is_tried_once(
        self, repository, pytester, monkeypatch
    ):
        # A mosquitto that is replaced by something else while the tests run.
        runs = pytester.path / "runs"
        executable = pytester.path / "mosquitto"
        executable.write_text(
            f'#!/bin/sh\necho "$1" >>{runs}\n[ ! -e broken ] || exit 3\n'
            f'exec {find_mosquitto()} "$@"\n'
        )
        executable.chmod(0o755)
        repository.write(
            "tests/test_it.py",
            """
            import pytest
            def test_one(mqtt_client, test_mqtt_broker):
                test_mqtt_broker.kill()
                open("broken", "w").close()
            @pytest.mark.parametrize("n", range(200))
            def test_two(mqtt_client, n): pass
            """,
        )
        monkeypatch.setenv("MQTT_TEST_MOSQUITTO", str(executable))
        result = repository.run("-q")
        result.assert_outcomes(passed=1, errors=200)
        result.stdout.fnmatch_lines(["*ended with status 3 before it answered*"])
        assert runs.read_text().split().count("-c") == 2
