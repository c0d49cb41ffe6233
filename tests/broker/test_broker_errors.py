"""What keeps a broker from starting is one clear error with the remedy, and leaves nothing."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.drop_in import TESTS, Repository
from helpers.processes import command_lines_with, wait_until
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.broker import process
from mqtt_testing.broker.binary import find_mosquitto, mosquitto_version


@pytest.fixture
def left_clean(temporary_folder):
    yield
    assert not list(temporary_folder.iterdir())


@pytest.fixture
def script(tmp_path):
    """Makes an executable file of a shell script."""

    def make(text):
        file = tmp_path / "mosquitto"
        file.write_text(f"#!/bin/sh\n{dedent(text)}")
        file.chmod(0o755)
        return file

    return make


@pytest.mark.usefixtures("left_clean")
class TestExecutable:
    def test_one_that_hangs(self, script, monkeypatch):
        monkeypatch.setattr(process, "START_TIMEOUT", 0.2)
        with pytest.raises(BrokerError, match=r"does not answer a CONNECT within 0.2 s") as error:
            TestMQTTBroker(executable=script("[ $1 = -h ] || read -r _ </dev/zero")).start()
        assert "name the binary with MQTT_TEST_MOSQUITTO" in str(error.value)

    def test_a_script_that_has_mosquitto_as_a_child(self, script):
        executable = script(f'{find_mosquitto()} "$@"; exit $?')
        with TestMQTTBroker(executable=executable) as broker:
            broker.pause()
            assert not broker.answers(timeout=0.2)
            broker.resume()
            assert broker.answers()
            folder = broker.log_path.parent
            broker.kill()
            assert wait_until(lambda: not command_lines_with(folder))

    @pytest.mark.parametrize("how", ['{mosquitto} "$@" &', '{mosquitto} -d "$@"'])
    def test_a_script_that_leaves_mosquitto_alone(self, script, how, temporary_folder):
        executable = script(how.format(mosquitto=find_mosquitto()))
        with pytest.raises(BrokerError, match="ended with status 0 before it answered"):
            TestMQTTBroker(executable=executable).start()
        assert not command_lines_with(temporary_folder)

    def test_the_children_of_a_script_that_hangs_go_as_well(self, script, tmp_path, monkeypatch):
        monkeypatch.setattr(process, "START_TIMEOUT", 0.2)
        hung = script(f"tail -f {tmp_path}/mosquitto; exit $?")
        assert mosquitto_version(str(hung), timeout=0.2) is None
        with pytest.raises(BrokerError, match="does not answer"):
            TestMQTTBroker(executable=hung).start()
        assert wait_until(lambda: not command_lines_with(f"tail -f {tmp_path}"))

    def test_a_user_s_own_pid_file(self, tmp_path):
        folder = tmp_path / "own"
        folder.mkdir()
        folder.chmod(0o777)
        with TestMQTTBroker(config_lines=[f"pid_file {folder}/pid"]) as broker:
            assert broker.answers()

    def test_one_that_takes_its_time_is_waited_for(self, script, tmp_path):
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        broker = TestMQTTBroker(
            executable=script(f'echo waiting\nread -r _ <{gate}\nexec {find_mosquitto()} "$@"')
        )
        starting = threading.Thread(target=broker.start)
        starting.start()
        assert wait_until(lambda: "waiting" in broker.log)
        assert starting.is_alive()
        gate.write_text("go\n")
        starting.join()
        try:
            assert broker.answers()
        finally:
            broker.stop()

    @pytest.mark.parametrize("executable", ["/bin/true", "/bin/cat", "/bin/sh", sys.executable])
    def test_one_that_is_no_mosquitto(self, executable):
        with pytest.raises(BrokerError, match="ended with status") as error:
            TestMQTTBroker(executable=executable).start()
        assert f"{executable} does not give a version as mosquitto does" in str(error.value)

    def test_an_old_one_that_does_not_know_our_configuration(self, script):
        # mosquitto 1.4 says so in these words, and knows no set_tcp_nodelay.
        old = script(
            """
            [ "$1" != -h ] || { echo "mosquitto version 1.4.15 (build date)"; exit 0; }
            echo 'Error: Unknown configuration variable "set_tcp_nodelay".' >&2
            exit 3
            """
        )
        with pytest.raises(BrokerError, match=r"is mosquitto 1\.4\.15; it takes 2\.0 or later"):
            TestMQTTBroker(executable=old).start()

    def test_an_old_one_that_starts_nevertheless(self, script):
        old = script(
            f"""
            echo "1: mosquitto version 1.6.9 starting" >&2
            exec {find_mosquitto()} "$@"
            """
        )
        broker = TestMQTTBroker(executable=old)
        with pytest.raises(BrokerError, match=r"is mosquitto 1\.6\.9; .*set MQTT_TEST_MOSQUITTO"):
            broker.start()
        assert not broker.is_running()

    def test_the_version_is_that_of_the_binary(self):
        assert re.fullmatch(r"\d+\.\d+\S*", mosquitto_version(find_mosquitto()))
        assert mosquitto_version("/bin/true") is None
        assert mosquitto_version("/no/such/file") is None

    def test_one_that_hangs_at_its_version_has_none(self, script):
        assert mosquitto_version(str(script("read -r _ </dev/zero")), timeout=0.1) is None


class TestTemporaryFolder:
    """A path that a workspace of CI or of somebody with a full name may have."""

    OPTIONS = ({}, {"websockets": True}, {"tls": True, "username": "me", "password": "s3cret"})

    @pytest.mark.parametrize("options", OPTIONS, ids=["plain", "websockets", "all the files"])
    @pytest.mark.parametrize("name", ["two  words", "x" * 150, "#$h'q\"", "ünïcode"])
    def test_it_may_be_called_anything(self, tmp_path, monkeypatch, name, options):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with TestMQTTBroker(**options) as broker:
            assert broker.answers()
            broker.restart()
            assert broker.answers()
        assert list(tmp_path.iterdir()) == [folder]
        assert not list(folder.iterdir())


class TestScarcity:
    """Of what the system gives to a process, taken away in one of our own."""

    START = """
        import encodings.idna, os, resource, sys, tempfile
        sys.path.insert(0, sys.argv[1])
        from mqtt_test_broker import BrokerError, TestMQTTBroker
        from mqtt_testing.broker.binary import find_mosquitto

        def start():
            broker = TestMQTTBroker()
            try:
                broker.start()
                print("started")
            except BrokerError as error:
                print("error:", str(error).splitlines()[0])
            finally:
                broker.stop()

    """

    def run(self, code, folder, *prefix):
        run = subprocess.run(
            [*prefix, sys.executable, "-c", dedent(self.START) + dedent(code), str(TESTS)],
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""
        return run.stdout.splitlines()

    def test_no_file_may_grow(self, tmp_path):
        lines = self.run(
            """
            for size in (10, 100):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
                start()
            """,
            tmp_path,
        )
        assert len(lines) == 2
        assert all("File too large" in line and "ulimit -f" in line for line in lines)
        assert not list(tmp_path.iterdir())

    def test_the_log_may_not_grow(self, tmp_path):
        [line] = self.run(
            """
            resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
            with TestMQTTBroker() as broker:
                while broker.answers(): pass
                while broker.is_running(): pass
                print(broker.report_death().splitlines()[0])
            """,
            tmp_path,
        )
        assert "That is SIGXFSZ" in line

    def test_no_descriptor_is_free(self, tmp_path):
        lines = self.run(
            """
            tempfile.gettempdir()
            for free in range(16):
                sys.stdout.flush()
                child = os.fork()  # a Popen that fails loses descriptors, in Python 3.9
                if child == 0:
                    last = max(os.open("/dev/null", os.O_RDONLY) for _ in range(40))
                    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + free, 4096))
                    start()
                    sys.stdout.flush()
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            """,
            tmp_path,
        )
        assert len(lines) == 16
        errors = [line for line in lines if line != "started"]
        assert errors
        assert all("Too many open files" in line for line in errors)
        assert all("ulimit -n" in line for line in errors)
        assert lines[-1] == "started"
        assert not list(tmp_path.iterdir())

    def test_the_disk_is_full(self, tmp_path):
        if os.geteuid() != 0 or not shutil.which("unshare"):
            pytest.skip("it takes root and unshare to mount a small disk")
        for kilobytes in (4, 8, 12, 16):
            mount = (
                f"mount -t tmpfs -o size={kilobytes}k,mode=1777 none {tmp_path} || exit 77; "
                'exec "$0" "$@"'
            )
            [line] = self.run("start()", tmp_path, "unshare", "-m", "sh", "-c", mount)
            if line != "started":
                assert "No space left on device" in line
                assert "set TMPDIR" in line
            if kilobytes == 4:
                assert line != "started"

    def test_the_temporary_folder_is_read_only(self, tmp_path):
        if os.geteuid() != 0 or not shutil.which("unshare"):
            pytest.skip("it takes root and unshare to mount a disk")
        mount = f'mount -t tmpfs -o ro none {tmp_path}; exec "$0" "$@"'
        code = f"tempfile.tempdir = {str(tmp_path)!r}\nstart()"
        [line] = self.run(code, tmp_path, "unshare", "-m", "sh", "-c", mount)
        assert "Read-only file system" in line
        assert "Set TMPDIR to a folder that can be written to" in line

    def test_there_is_no_user_but_root(self, tmp_path):
        if not shutil.which("unshare") or subprocess.run(["unshare", "-r", "true"]).returncode:
            pytest.skip("it takes unshare and user namespaces")
        assert self.run("start()", tmp_path, "unshare", "-r") == ["started"]

    def test_the_temporary_folder_is_not_there(self, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
        with pytest.raises(BrokerError, match=r"/no/such/folder/.*Set TMPDIR"):
            TestMQTTBroker().start()


@pytest.mark.usefixtures("few_plugins")
class TestReport:
    @pytest.fixture
    def repository(self, pytester):
        repository = Repository(pytester, ["mqtt_test_broker"])
        repository.write(
            "tests/conftest.py",
            "from mqtt_test_broker import session_mqtt_broker, test_mqtt_broker\n",
        )
        return repository.write(
            "tests/test_it.py",
            """
            def test(test_mqtt_broker):
                print(f"at {test_mqtt_broker.port}, {test_mqtt_broker.log_path}.")
                assert test_mqtt_broker.log_path.exists()
                assert not test_mqtt_broker.answers()
            """,
        )

    def test_its_header_and_a_failure_name_the_same_address_and_log(self, repository):
        result = repository.run()
        result.assert_outcomes(failed=1)
        output = result.stdout.str()
        version = mosquitto_version(find_mosquitto())
        header = rf"mosquitto: version {re.escape(version)} \(\S+\), session broker at "
        [(address, log)] = re.findall(rf"{header}(\S+), log (\S+)", output)
        assert f"mosquitto log of {address} ({log})" in output
        assert f"at {address.split(':')[1]}, {log}." in output

    def test_its_header_names_the_logs_of_workers(self, repository):
        result = repository.run("-p", "xdist", "-n", "1")
        result.assert_outcomes(failed=1)
        output = result.stdout.str()
        [logs] = re.findall(r"one a worker at 127\.0\.0\.1, logs (\S+);", output)
        [log] = re.findall(r"mosquitto log of 127\.0\.0\.1:\d+ \((\S+)\)", output)
        assert Path(log).match(logs)

    def test_its_header_costs_nothing_where_it_is_not_printed(self, repository):
        result = repository.run("-q")
        result.stdout.no_fnmatch_line("mosquitto: *")

    def test_its_header_has_the_cause_where_there_is_no_mosquitto(self, repository, monkeypatch):
        monkeypatch.setenv("MQTT_TEST_MOSQUITTO", "/no/such/file")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["mosquitto: MQTT_TEST_MOSQUITTO names '/no/such/file'*"])

    def test_its_header_names_a_broker_of_others_without_the_password(
        self, repository, monkeypatch
    ):
        with TestMQTTBroker(username="me", password="s3cret") as broker:
            url = f"mqtt://me:s3cret@{broker.host}:{broker.port}"
            monkeypatch.setenv("MQTT_TEST_BROKER_URL", url)
            result = repository.run()
        result.stdout.fnmatch_lines([f"mosquitto: 127.0.0.1:{broker.port}, which*"])
        result.stdout.no_fnmatch_line("*s3cret*")

    def test_a_hung_binary_is_waited_for_once(self, repository, script, monkeypatch):
        hung = script('[ "$1" = -h ] || read -r _ </dev/zero')
        monkeypatch.setenv("MQTT_TEST_MOSQUITTO", str(hung))
        repository.write(
            "tests/test_it.py",
            """
            import mqtt_test_broker, pytest
            from mqtt_testing.broker import process
            process.START_TIMEOUT = 0.2
            @pytest.mark.parametrize("n", range(200))
            def test(test_mqtt_broker, n): pass
            """,
        )
        result = repository.run()
        result.assert_outcomes(errors=200)
        result.stdout.fnmatch_lines(["mosquitto: version unknown*", "*does not answer a CONNECT*"])
