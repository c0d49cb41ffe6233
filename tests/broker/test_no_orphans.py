"""No mosquitto and no folder of one stays, however the process ends that started it."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.drop_in import TESTS, Repository
from helpers.processes import command_lines_with, ends, wait_until
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.broker import folder as guardian
from mqtt_testing.broker.binary import find_mosquitto
from mqtt_testing.broker.folder import FOLDER_PREFIX

pytestmark = pytest.mark.usefixtures("few_plugins")


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    """Where the processes of a test make their folders, so that leftovers are seen."""
    folder = tmp_path / "temporary"
    folder.mkdir(mode=0o777)
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def is_clean(folder):
    return not command_lines_with(folder) and not list(folder.iterdir())


class TestEnds:
    """Of a run of pytest, at a moment when two of its brokers run."""

    SUITE = """
        import os, signal, sys
        from pathlib import Path
        import pytest

        @pytest.fixture(scope="session")
        def blocked_at_the_end(session_mqtt_broker):
            yield
            if Path("block").exists():
                Path("tearing down").touch()
                signal.pause()

        def test_it(test_mqtt_broker, isolated_mqtt_broker, blocked_at_the_end):
            assert test_mqtt_broker.answers() and isolated_mqtt_broker.answers()
            Path("running").touch()
            {then}
    """
    WAIT = "signal.pause()"

    @pytest.fixture
    def repository(self, pytester, temporary_folder):
        repository = Repository(pytester, ["mqtt_test_broker"])
        return repository.write(
            "tests/conftest.py",
            "from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, "
            "test_mqtt_broker\n",
        )

    def write(self, repository, then):
        repository.write("tests/test_it.py", dedent(self.SUITE).format(then=then))

    def start(self, repository, then, *arguments):
        self.write(repository, then)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        run = subprocess.Popen(
            command,
            cwd=repository.tests.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.await_file(repository, "running", run)
        return run

    def await_file(self, repository, name, run):
        file = repository.tests.parent / name
        assert wait_until(file.exists, 30), f"{name!r} was not reached; status {run.poll()}"

    @pytest.mark.parametrize(
        ("then", "status"),
        [
            ("pass", 0),
            ("pytest.exit('enough', returncode=7)", 7),
            ("raise KeyboardInterrupt", 2),
            ("sys.exit(3)", 1),
            ("os._exit(4)", 4),
            ("os.abort()", -signal.SIGABRT),
        ],
    )
    def test_by_itself(self, repository, temporary_folder, then, status):
        self.write(repository, then)
        assert repository.run().ret == status
        assert (repository.tests.parent / "running").exists()
        assert wait_until(lambda: is_clean(temporary_folder))

    @pytest.mark.parametrize(
        "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
    )
    @pytest.mark.parametrize("whom", ["process", "group"])
    def test_by_a_signal(self, repository, temporary_folder, number, whom):
        with self.start(repository, self.WAIT) as run:
            assert len(command_lines_with(temporary_folder)) == 2
            (os.kill if whom == "process" else os.killpg)(run.pid, number)
            run.wait(30)
        assert wait_until(lambda: is_clean(temporary_folder))

    def test_by_interrupting_it_twice(self, repository, temporary_folder):
        repository.write("block", "")
        with self.start(repository, self.WAIT) as run:
            run.send_signal(signal.SIGINT)
            self.await_file(repository, "tearing down", run)
            run.send_signal(signal.SIGINT)
            run.wait(30)
        assert wait_until(lambda: is_clean(temporary_folder))

    def test_by_the_crash_of_a_worker(self, repository, temporary_folder):
        self.write(repository, "os.kill(os.getpid(), signal.SIGKILL)")
        assert repository.run("-p", "xdist", "-n", "1").ret == 1
        assert (repository.tests.parent / "running").exists()
        assert wait_until(lambda: is_clean(temporary_folder))

    @pytest.mark.slow
    def test_by_the_death_of_what_controls_the_workers(self, repository, temporary_folder):
        with self.start(repository, self.WAIT, "-p", "xdist", "-n", "1") as run:
            run.kill()
            run.wait(30)
        # A worker notices, and then gives its test a few seconds.
        assert wait_until(lambda: is_clean(temporary_folder), 30)

    def test_although_a_script_adds_options_to_mosquitto(
        self, repository, temporary_folder, pytester, monkeypatch
    ):
        script = pytester.path / "mosquitto"
        script.write_text(f'#!/bin/sh\nexec {find_mosquitto()} "$@" -v\n')
        script.chmod(0o755)
        monkeypatch.setenv("MQTT_TEST_MOSQUITTO", str(script))
        with self.start(repository, self.WAIT) as run:
            run.kill()
            run.wait(30)
        assert wait_until(lambda: is_clean(temporary_folder))

    def test_a_run_that_used_no_broker_leaves_nothing(self, repository, temporary_folder):
        repository.write("tests/test_it.py", "def test(): pass")
        result = repository.run()
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([f"mosquitto: *log {temporary_folder}/*"])
        assert is_clean(temporary_folder)


class Parent:
    """A process that has started a broker, until it is killed."""

    CODE = """
        import os, sys
        sys.path.insert(0, sys.argv[1])
        from mqtt_test_broker import TestMQTTBroker
        broker = TestMQTTBroker()
        broker.start()
        {before}
        print(broker.pid, broker.log_path.parent, flush=True)
        {then}
    """

    def __init__(self, then="sys.stdin.read(); assert broker.answers(); broker.stop()", before=""):
        code = dedent(self.CODE).format(before=before, then=then)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(TESTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        pid, folder = self.process.stdout.readline().split()
        self.broker, self.folder = int(pid), Path(folder)

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        self.process.kill()
        self.process.communicate()

    def end(self):
        """Let it end by itself; return its exit status."""
        self.process.communicate("")
        return self.process.returncode

    def leaves_nothing(self):
        return ends(self.broker) and wait_until(lambda: not self.folder.exists())


class TestParent:
    """A broker does not survive the process that has started it without pytest."""

    @pytest.mark.parametrize("how", ["kill(os.getpid(), 9)", "kill(os.getpid(), 15)", "_exit(3)"])
    def test_that_dies(self, how):
        with Parent(then=f"os.{how}") as parent:
            assert parent.leaves_nothing()

    def test_although_a_forked_child_lives_on(self):
        with Parent(before="if os.fork() == 0: sys.stdin.read(); os._exit(0)") as parent:
            parent.process.kill()
            assert parent.leaves_nothing()

    def test_the_terminal_s_interrupt_is_not_for_mosquitto(self, broker):
        assert os.getpgid(broker.pid) != os.getpgid(0)


class TestOthers:
    """What is not this process's stays, and nothing of its own does."""

    def test_the_folder_of_a_living_process_stays(self, temporary_folder):
        with Parent() as one:
            with Parent() as other:
                assert other.end() == 0
            assert one.folder.exists()
            assert one.end() == 0

    def test_the_guardian_knows_a_folder_before_it_exists(self, temporary_folder, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(temporary_folder))
        guarded = []

        def make_and_look(path, mode):
            guarded.append(path)
            raise OSError(errno.ENOSPC, "as if the disk was full")

        watch = guardian._Guardian.watch
        monkeypatch.setattr(
            guardian._Guardian,
            "watch",
            lambda g, folder: (guarded.append(folder), watch(g, folder)),
        )
        monkeypatch.setattr("mqtt_testing.originals.os.mkdir", make_and_look)
        with pytest.raises(BrokerError, match="Free some space"):
            TestMQTTBroker().start()
        assert len(guarded) == 2
        assert guarded[0] == guarded[1]

    def test_a_thousand_abandoned_folders_are_no_matter(self, temporary_folder, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(temporary_folder))
        for number in range(1000):
            (temporary_folder / f"{FOLDER_PREFIX}{number}").mkdir()
        looked = []
        monkeypatch.setattr(
            "mqtt_testing.originals.os.scandir", lambda *arguments: looked.append(arguments)
        )
        with TestMQTTBroker() as broker:
            assert broker.answers()
        assert not looked

    @pytest.mark.parametrize("path", ["/no/such/folder", ""])
    def test_a_suite_that_has_changed_path_leaves_nothing(
        self, temporary_folder, monkeypatch, path
    ):
        monkeypatch.setenv("PATH", path)
        with Parent() as one:
            one.process.kill()
            assert wait_until(lambda: not list(temporary_folder.iterdir()))

    def test_what_is_not_ours_stays(self, temporary_folder, tmp_path):
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").touch()
        (temporary_folder / f"{FOLDER_PREFIX}link").symlink_to(precious)
        (temporary_folder / f"{FOLDER_PREFIX}file").touch()
        (temporary_folder / "mqtt-test-others").mkdir()
        expected = {f"{FOLDER_PREFIX}link", f"{FOLDER_PREFIX}file", "mqtt-test-others"}
        if os.geteuid() == 0:
            folder = temporary_folder / f"{FOLDER_PREFIX}of-another-user"
            folder.mkdir()
            os.chown(folder, 12345, -1)
            expected.add(folder.name)
        with Parent() as one:
            assert one.end() == 0
        assert {path.name for path in temporary_folder.iterdir()} == expected
        assert (precious / "file").exists()


class TestForkedChild:
    """It has a copy of its parent's broker, and may end, or start, one of its own alone."""

    @pytest.fixture
    def in_a_child(self):
        """Runs a function in a forked child; its exit status has to be 0."""

        def run(function):
            child = os.fork()
            if child == 0:
                try:
                    function()
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0

        return run

    def test_one_that_leaves_the_block_ends_nothing(self, in_a_child):
        with TestMQTTBroker() as broker:
            in_a_child(broker.stop)
            assert broker.answers()
            assert "New client connected" in broker.log
            broker.restart()
            assert broker.answers()

    @pytest.mark.parametrize("then", [TestMQTTBroker.stop, TestMQTTBroker.answers])
    def test_one_that_starts_it_has_a_folder_of_its_own(
        self, in_a_child, temporary_folder, monkeypatch, then
    ):
        monkeypatch.setattr("tempfile.tempdir", str(temporary_folder))
        broker = TestMQTTBroker()
        broker.reserve()  # as the header line of pytest does before pytest-forked forks
        folder = broker.log_path.parent
        try:
            for _ in range(3):
                in_a_child(lambda: then(broker.start()))
                assert wait_until(lambda: not command_lines_with(temporary_folder))
                assert folder.exists()
        finally:
            broker.stop()


class TestAnyMoment:
    """Starting and stopping have no moment at which a SIGKILL would leave a mosquitto."""

    CODE = """
        import sys, tempfile
        sys.path.insert(0, sys.argv[1])
        from mqtt_test_broker import TestMQTTBroker
        tempfile.gettempdir()  # writes a file, to see whether it can
        print("ready", flush=True)
        while True:
            with TestMQTTBroker() as broker:
                broker.restart()
    """

    @pytest.mark.slow
    def test_of_a_kill(self, temporary_folder):
        chance = random.Random(4)
        for _ in range(20):
            command = [sys.executable, "-c", dedent(self.CODE), str(TESTS)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                process.stdout.readline()
                threading.Event().wait(chance.uniform(0, 0.04))  # any moment: there is no event
                process.kill()
            assert wait_until(lambda: not command_lines_with(temporary_folder)), "a broker is left"
        with Parent() as one:
            assert one.end() == 0
        assert is_clean(temporary_folder)
