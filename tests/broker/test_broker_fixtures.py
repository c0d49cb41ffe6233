"""The fixtures of the broker, in a repository that has nothing else."""

import socket

import pytest
from helpers.drop_in import Repository
from mqtt_test_broker import TestMQTTBroker


@pytest.mark.usefixtures("few_plugins")
class TestFixtures:
    WIRING = """
        from mqtt_test_broker import (
            isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
        )
    """

    @pytest.fixture
    def repository(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker"])
        return repository.write("tests/conftest.py", self.WIRING)

    def test_the_module_works_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            def test_one(test_mqtt_broker): assert test_mqtt_broker.answers()
            def test_same(test_mqtt_broker, session_mqtt_broker):
                assert test_mqtt_broker is session_mqtt_broker
            def test_own(isolated_mqtt_broker, session_mqtt_broker):
                assert isolated_mqtt_broker.port != session_mqtt_broker.port
            """,
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=3)
        assert result.stderr.str() == ""

    def test_the_class_is_not_collected(self, repository):
        repository.write("tests/test_it.py", "from mqtt_test_broker import *\ndef test(): pass")
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("how", ["kill()", "stop()", "pause()"])
    def test_the_next_test_finds_it_running(self, repository, how):
        repository.write(
            "tests/test_it.py",
            f"""
            def test_one(test_mqtt_broker): test_mqtt_broker.{how}
            def test_two(test_mqtt_broker): assert test_mqtt_broker.answers()
            """,
        )
        repository.run().assert_outcomes(passed=2)

    def test_a_sudden_death_fails_the_test_that_suffered_it_and_no_other(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import os, signal
            def test_one(test_mqtt_broker):
                os.kill(test_mqtt_broker.pid, signal.SIGSEGV)
                while test_mqtt_broker.is_running(): pass
            def test_two(test_mqtt_broker): assert test_mqtt_broker.answers()
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["The broker died: mosquitto ended with status -11.*"])

    def test_a_death_between_two_tests_is_told(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import os, signal
            import pytest

            @pytest.fixture(scope="class")
            def killed_late(session_mqtt_broker):
                yield
                os.kill(session_mqtt_broker.pid, signal.SIGSEGV)
                while session_mqtt_broker.is_running(): pass

            class TestOne:
                def test(self, killed_late, test_mqtt_broker): pass

            @pytest.mark.skip
            def test_skipped(): pass

            def test_two(test_mqtt_broker): assert test_mqtt_broker.answers()
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=2, skipped=1)
        result.stdout.fnmatch_lines(["*mosquitto died between two tests*", "*status -11*"])

    def test_a_failing_test_that_used_it_shows_its_log(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            def test_with(test_mqtt_broker):
                test_mqtt_broker.answers()
                assert False
            def test_without():
                assert False
            """,
        )
        result = repository.run()
        result.assert_outcomes(failed=2)
        assert result.stdout.str().count("mosquitto log of") == 1
        result.stdout.fnmatch_lines(["*mosquitto log of*", "*New client connected*"])

    def test_a_missing_mosquitto_is_one_clear_error(self, repository, monkeypatch):
        monkeypatch.setenv("MQTT_TEST_MOSQUITTO", "/no/such/file")
        repository.write("tests/test_it.py", "def test(test_mqtt_broker): pass")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["MQTT_TEST_MOSQUITTO names '/no/such/file'*"])
        result.stdout.no_fnmatch_line("*mqtt_test_broker.py*")
        result.stdout.no_fnmatch_line("*another exception occurred*")

    def test_an_external_broker_is_used_and_left_running(self, repository, monkeypatch, broker):
        monkeypatch.setenv("MQTT_TEST_BROKER_URL", f"mqtt://127.0.0.1:{broker.port}")
        repository.write(
            "tests/test_it.py",
            f"def test(test_mqtt_broker): assert test_mqtt_broker.port == {broker.port}",
        )
        repository.run().assert_outcomes(passed=1)
        assert broker.is_running()

    def test_an_external_broker_that_is_down_is_one_clear_error(self, repository, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            monkeypatch.setenv("MQTT_TEST_BROKER_URL", f"mqtt://me:s3cret@127.0.0.1:{port}")
            repository.write("tests/test_it.py", "def test(test_mqtt_broker): pass")
            result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["MQTT connection failed: *Check that the test broker is run*"])
        result.stdout.no_fnmatch_line("*s3cret*")

    def test_an_import_under_two_names_is_refused(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker"], package=True)
        repository.write(
            "tests/conftest.py",
            """
            import sys, pathlib
            from .mqtt_test_broker import test_mqtt_broker
            sys.path.insert(0, str(pathlib.Path(__file__).parent))
            import mqtt_test_broker
            """,
        )
        result = repository.run()
        assert result.ret != 0
        result.stderr.fnmatch_lines(["*is imported under two names*"])


@pytest.mark.usefixtures("few_plugins")
class TestMosquitto:
    """The fixture of that name, for users of pytest-mqtt; of which here are a few lines."""

    SETTINGS = """
        import types
        import pytest

        @pytest.fixture(scope="session")
        def mqtt_settings():
            return types.SimpleNamespace(host="h", port=1, username="guest", password="guest")

        @pytest.fixture(scope="session")
        def mosquitto():
            return "of the plugin"

        @pytest.fixture
        def capmqtt(mqtt_settings):
            return vars(mqtt_settings)
    """

    @pytest.fixture
    def repository(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker"])
        pytester.mkpydir("pytest_mqtt")
        repository.write("pytest_mqtt/mosquitto.py", self.SETTINGS)
        return repository.write("tests/conftest.py", "from mqtt_test_broker import mosquitto")

    def test_it_is_the_address_of_the_session_s_broker(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            @pytest.fixture
            def mqtt_settings():
                raise AssertionError("it is not pytest-mqtt's")

            @pytest.fixture(scope="module")
            def address(mosquitto):
                return mosquitto

            def test_one(address, session_mqtt_broker):
                assert address == (session_mqtt_broker.host, session_mqtt_broker.port)
                session_mqtt_broker.kill()

            def test_two(address, session_mqtt_broker):
                assert address == (session_mqtt_broker.host, session_mqtt_broker.port)
                assert session_mqtt_broker.answers()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    @pytest.mark.parametrize("order", ["mosquitto, capmqtt", "capmqtt, mosquitto"])
    def test_capmqtt_connects_to_it(self, repository, order):
        repository.write(
            "tests/test_it.py",
            f"""
            def test_it({order}):
                host, port = mosquitto
                guest = dict(username="guest", password="guest")
                assert capmqtt == dict(host=host, port=port, **guest)
            """,
        )
        repository.run("-p", "pytest_mqtt.mosquitto").assert_outcomes(passed=1)

    def test_capmqtt_logs_in_as_an_external_broker_wants_it(self, repository, monkeypatch):
        repository.write(
            "tests/test_it.py",
            """
            def test_it(mosquitto, capmqtt):
                host, port = mosquitto
                assert capmqtt == dict(host=host, port=port, username="me", password="s3cret")
            """,
        )
        with TestMQTTBroker(username="me", password="s3cret") as broker:
            url = f"mqtt://me:s3cret@127.0.0.1:{broker.port}"
            monkeypatch.setenv("MQTT_TEST_BROKER_URL", url)
            repository.run("-p", "pytest_mqtt.mosquitto").assert_outcomes(passed=1)

    def test_a_plugin_keeps_its_own_where_ours_is_not_imported(self, repository):
        repository.write("tests/conftest.py", "from mqtt_test_broker import test_mqtt_broker")
        repository.write(
            "tests/test_it.py",
            """
            def test_it(mosquitto, test_mqtt_broker, capmqtt):
                assert mosquitto == "of the plugin"
                assert capmqtt["port"] == 1
            """,
        )
        repository.run("-p", "pytest_mqtt.mosquitto").assert_outcomes(passed=1)
