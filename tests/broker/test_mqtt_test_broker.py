import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import mqtt_test_broker
import pytest
from helpers.broker_by_hand import free_port
from helpers.clients import connected
from helpers.processes import ends, processes_with, wait_until
from mqtt_test_broker import BrokerError, MQTTTestBroker, TestMQTTBroker
from mqtt_testing.broker import process
from mqtt_testing.broker.binary import find_mosquitto
from mqtt_testing.broker.errors import PortInUseError
from mqtt_testing.wire.endpoint import MQTTEndpoint


class TestLife:
    def test_needs_no_arguments(self, broker):
        assert broker.is_running()
        assert broker.host == "127.0.0.1"
        assert broker.get_connection_params() == {
            "host": "127.0.0.1",
            "port": broker.port,
            "keepalive": 60,
        }
        with connected(broker) as client:
            assert client.is_connected()

    def test_starts_once_however_many_threads_start_it(self, monkeypatch, tmp_path):
        monkeypatch.setenv("STARTED_BY", str(tmp_path))
        broker = TestMQTTBroker()
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda _n: broker.start(), range(4))) == [broker] * 4
        broker.stop()
        mark = f"STARTED_BY={tmp_path}"
        assert wait_until(lambda: not processes_with(mark)), processes_with(mark)

    def test_has_the_other_name_as_well(self):
        assert MQTTTestBroker is TestMQTTBroker

    def test_starting_twice_starts_once(self, broker):
        pid = broker.pid
        broker.start()
        assert broker.pid == pid

    def test_it_takes_the_place_of_a_process(self, temporary_folder):
        broker = TestMQTTBroker().start()
        assert broker.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            broker.wait(0)
        broker.terminate()
        assert (broker.poll(), broker.wait()) == (0, 0)
        assert broker.start().start() is broker
        broker.kill()
        assert (broker.poll(), broker.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
        assert list(temporary_folder.iterdir()) == []

    @pytest.mark.parametrize("end", ["terminate", "kill", "SIGTERM", "SIGINT", "SIGKILL"])
    def test_it_is_used_as_a_process_is(self, end):
        """Each of these lines runs with a Popen as well; both say the same."""
        seen = {}
        for make in (TestMQTTBroker().start, _mosquitto_by_hand):
            process, found = make(), []
            found.append((process.poll(), process.returncode, process.stdin, process.stdout))
            pid, program = process.pid, process.args[0]
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=0)
            if end.startswith("SIG"):
                process.send_signal(getattr(signal, end))
            else:
                getattr(process, end)()
            found.append(process.wait(timeout=10))
            found.append((process.poll(), process.returncode, process.pid == pid))
            process.communicate()
            process.terminate()
            process.kill()
            process.send_signal(signal.SIGTERM)
            found.append((process.poll(), process.returncode, process.wait(), process.args[0]))
            assert found[-1][-1] == program
            seen[type(process)] = found
        assert seen[TestMQTTBroker] == seen[subprocess.Popen]

    def test_a_signal_that_ends_it_is_no_accident(self, broker):
        broker.send_signal(signal.SIGHUP)
        assert broker.wait_for_ready()
        broker.send_signal(signal.SIGTERM)
        assert wait_until(lambda: broker.poll() is not None)
        assert not broker.died()

    def test_communicate_gives_what_it_has_logged(self):
        broker = TestMQTTBroker().start()
        broker.terminate()
        output, log = broker.communicate()
        assert output == b""
        assert b"mosquitto version" in log

    def test_stopping_leaves_nothing(self, temporary_folder):
        broker = TestMQTTBroker()
        broker.start()
        pid = broker.pid
        assert list(temporary_folder.iterdir())
        broker.stop()
        broker.stop()
        assert not broker.is_running()
        assert ends(pid)
        assert not list(temporary_folder.iterdir())

    def test_the_log_outlives_it(self, broker):
        with connected(broker, client_id="first"):
            pass
        broker.restart()
        with connected(broker, client_id="second"):
            pass
        broker.stop()
        assert broker.log.index("as first") < broker.log.index("as second")

    def test_a_log_that_others_have_removed_is_empty(self, broker):
        broker.log_path.unlink()
        assert broker.log_position == 0
        assert broker.log == broker.log_since(0) == ""

    def test_the_log_can_be_read_from_a_position_on(self, broker):
        with connected(broker, client_id="früher"):
            pass
        broker.restart()
        position = broker.log_position
        with connected(broker, client_id="später"):
            pass
        assert "as später" in broker.log_since(position)
        assert "früher" not in broker.log_since(position)

    def test_restarts_on_the_same_port_and_empty(self, broker):
        port, pid = broker.port, broker.pid
        with connected(broker) as client:
            client.publish("kept", "1", qos=1, retain=True).wait_for_publish(5)
        broker.restart()
        assert broker.port == port
        assert broker.pid != pid
        with connected(broker) as client:
            assert client.received_on("#") == []

    def test_a_kill_is_noticed_and_a_start_gets_over_it(self, broker):
        broker.kill()
        assert not broker.is_running()
        broker.start()
        assert broker.answers()

    def test_a_paused_one_is_alive_and_does_not_answer(self, broker):
        broker.pause()
        assert broker.is_running()
        assert not broker.answers(timeout=0.05)
        broker.resume()
        assert broker.answers()

    def test_a_paused_one_can_be_stopped(self, broker):
        broker.pause()
        broker.stop()
        assert not broker.is_running()

    def test_waiting_for_one_that_died_says_why(self, broker):
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(BrokerError, match="status -9 before it answered"):
            broker.wait_for_ready(5)

    def test_waiting_for_one_that_hangs_says_so(self, broker):
        broker.pause()
        with pytest.raises(BrokerError, match="does not answer a CONNECT"):
            broker.wait_for_ready(0.05)

    @pytest.mark.parametrize("verb", ["kill", "pause", "resume"])
    def test_what_needs_a_running_one_says_so(self, verb):
        with pytest.raises(BrokerError, match="call start"):
            getattr(TestMQTTBroker(), verb)()

    def test_starts_while_sleep_is_no_function(self, monkeypatch):
        monkeypatch.setattr("time.sleep", None)
        with TestMQTTBroker() as broker:
            assert broker.answers()

    def test_many_at_once_get_a_port_each(self):
        brokers = [TestMQTTBroker() for _ in range(20)]
        try:
            with ThreadPoolExecutor(20) as threads:
                list(threads.map(TestMQTTBroker.start, brokers))
            assert len({broker.port for broker in brokers}) == 20
            assert all(broker.answers() for broker in brokers)
        finally:
            for broker in brokers:
                broker.stop()

    def test_a_suite_that_has_replaced_popen_does_not_matter(self, monkeypatch):
        monkeypatch.setattr("subprocess.Popen", None)
        with TestMQTTBroker() as broker:
            assert broker.answers()
            broker.restart()

    def test_a_clock_that_stands_still_does_not_matter(self, tmp_path):
        hung = tmp_path / "mosquitto"
        hung.write_text(
            '#!/bin/sh\n[ "$1" = -h ] && echo mosquitto version 2.0 || read _ </dev/zero'
        )
        hung.chmod(0o755)
        # freezegun puts its own function in the place of each that a module has of `time`.
        frozen = dedent(
            f"""
            import sys, time
            sys.path.insert(0, {str(Path(mqtt_test_broker.__file__).parent)!r})
            import mqtt_test_broker
            def freeze(real):
                for module in list(sys.modules.values()):
                    for name, value in list(vars(module).items()):
                        if value is real:
                            setattr(module, name, lambda: 1.0)
            freeze(time.monotonic)
            with mqtt_test_broker.TestMQTTBroker() as broker:
                assert broker.answers()
                broker.restart()
            try:
                from mqtt_testing.broker import process
                process.START_TIMEOUT = 0.2
                mqtt_test_broker.TestMQTTBroker(executable={str(hung)!r}).start()
            except mqtt_test_broker.BrokerError as error:
                assert "does not answer" in str(error), error
            """
        )
        subprocess.run([sys.executable, "-c", frozen], timeout=30, check=True)

    def test_a_port_that_is_lost_to_another_is_given_up(self, monkeypatch):
        with TestMQTTBroker() as other:
            taken = [other.port]
            reserve = process.reserve_port

            def reserve_a_taken_one_first(host, port):
                reservation = reserve(host, port)
                return _PortOf(reservation, taken.pop()) if taken else reservation

            monkeypatch.setattr(process, "reserve_port", reserve_a_taken_one_first)
            with TestMQTTBroker() as broker:
                assert broker.port != other.port
                assert broker.answers()
            assert not taken


class _PortOf:
    """A reservation that has turned out to be worth nothing."""

    def __init__(self, reservation, port):
        self._reservation = reservation
        self._port = port

    def getsockname(self):
        return ("127.0.0.1", self._port)

    def close(self):
        self._reservation.close()


class TestBadInput:
    def test_a_port_in_use_is_named_and_not_adopted(self, temporary_folder):
        with TestMQTTBroker() as other, pytest.raises(PortInUseError, match=str(other.port)) as e:
            TestMQTTBroker(port=other.port).start()
        assert "leave `port` out" in str(e.value)

    def test_an_address_of_another_machine_is_named(self, temporary_folder):
        with pytest.raises(BrokerError, match=r"no port can be had on '192\.0\.2\.1': "):
            TestMQTTBroker(host="192.0.2.1").start()
        assert not list(temporary_folder.iterdir())

    def test_a_line_that_mosquitto_refuses_is_shown_with_its_complaint(self, temporary_folder):
        broker = TestMQTTBroker(config_lines=["no_such_option yes"])
        with pytest.raises(BrokerError) as error:
            broker.start()
        assert "no_such_option yes" in str(error.value)
        assert 'Unknown configuration variable "no_such_option"' in str(error.value)
        assert not broker.is_running()
        assert not list(temporary_folder.iterdir())

    def test_a_file_that_cannot_run_is_named(self, temporary_folder, tmp_path_factory):
        file = tmp_path_factory.mktemp("bin") / "mosquitto"
        file.write_bytes(b"\x7fELF not really")
        file.chmod(0o755)
        with pytest.raises(BrokerError, match="cannot be run"):
            TestMQTTBroker(executable=file).start()
        assert not list(temporary_folder.iterdir())

    def test_an_executable_that_is_not_there_is_named(self):
        with pytest.raises(BrokerError, match="executable names '/no/such/file'"):
            TestMQTTBroker(executable="/no/such/file").start()

    def test_a_variable_that_names_nothing_is_named(self, monkeypatch):
        monkeypatch.setenv("MQTT_TEST_MOSQUITTO", "/no/such/file")
        with pytest.raises(BrokerError, match="MQTT_TEST_MOSQUITTO names '/no/such/file'"):
            TestMQTTBroker().start()

    def test_a_missing_mosquitto_gets_the_install_command(self, monkeypatch, tmp_path):
        manager = tmp_path / "apk"
        manager.touch(mode=0o755)
        monkeypatch.delenv("MQTT_TEST_MOSQUITTO", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("mqtt_testing.broker.binary.SBIN_FOLDERS", ())
        with pytest.raises(BrokerError, match="sudo apk add mosquitto"):
            TestMQTTBroker().start()

    def test_half_a_credential_is_refused(self):
        with pytest.raises(ValueError, match="both or neither"):
            TestMQTTBroker(username="me")

    def test_lines_in_one_string_are_refused(self):
        with pytest.raises(TypeError, match="list of lines"):
            TestMQTTBroker(config_lines="max_packet_size 100")


def _mosquitto_by_hand():
    port = free_port()
    mosquitto = subprocess.Popen([find_mosquitto(), "-p", str(port)], stderr=subprocess.DEVNULL)
    # Not before: as it starts its loop, it forgets a SIGTERM that it has had.
    assert wait_until(MQTTEndpoint("127.0.0.1", port).answers)
    return mosquitto
