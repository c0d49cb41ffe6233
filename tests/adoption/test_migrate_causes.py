"""`scripts/migrate.py scan` tells each cause once, gives advice that is right in place, or none."""

from textwrap import dedent

import pytest

HELPER = """
import subprocess
import time
from service import Gateway

class Bench:
    def __init__(self):
        self.broker = subprocess.Popen(["mosquitto", "-p", "18840"])
        time.sleep(1)
        self.gateway = Gateway(port=18840)

    def settle(self):
        time.sleep(0.5)

    def stop(self):
        time.sleep(0.2)
        self.broker.terminate()
"""


def found_by_kind(repo):
    kinds = {}
    for finding in repo.scan():
        kinds.setdefault(finding.kind, []).append(finding)
    return kinds


def test_what_a_helper_class_does_is_told_once(repo):
    repo.write("tests/bench.py", HELPER)
    tests = "".join(
        f"""
def test_{number}():
    bench = Bench()
    bench.settle()
    assert bench.gateway.value == {number}
    bench.stop()
"""
        for number in range(94)
    )
    repo.write("tests/test_gateway.py", f"from bench import Bench\n{tests}")
    kinds = found_by_kind(repo)
    [started] = kinds["helper-starts-broker"]
    assert (str(started.path), started.line) == ("tests/bench.py", 8)
    assert started.what.endswith(", for test_0() and 93 more that call it")
    assert {str(wait.path) for wait in kinds["wait-for-background"]} == {"tests/bench.py"}
    [settled] = [wait for wait in kinds["wait-for-background"] if wait.line == 13]
    assert settled.what == (
        "Bench.settle() sleeps for background work before test_0() looks at bench, and for 93 "
        "more that call it"
    )
    assert len(settled.tests) == 94
    assert "per-test-broker" not in kinds
    assert sum(map(len, kinds.values())) == len(kinds["wait-for-background"]) + 2


def test_a_constructor_that_does_not_sleep_is_no_wait(repo):
    repo.write(
        "tests/test_it.py",
        """
        import time

        class Recorder:
            def __init__(self, client):
                self.client = client

            def drain(self):
                time.sleep(0.5)  #!wait-for-background

        def test_made(mqtt_client):
            recorder = Recorder(mqtt_client)
            assert recorder.client.is_connected()

        def test_used(mqtt_client):
            recorder = Recorder(mqtt_client)
            recorder.drain()
            assert mqtt_client.is_connected()
        """,
    )
    assert repo.marks() == repo.planted()


def test_an_object_of_a_fixture_is_known_by_its_class(repo):
    repo.write(
        "tests/conftest.py",
        """
        import time
        import pytest

        class Panel:
            def press(self):
                time.sleep(0.2)  #!wait-for-background

        @pytest.fixture
        def panel():
            made = Panel()
            yield made
        """,
    )
    repo.write(
        "tests/test_it.py",
        """
        def test_press(panel, mqtt_service):
            panel.press()
            assert mqtt_service.presses == 1
        """,
    )
    assert repo.marks() == repo.planted()


@pytest.mark.parametrize(
    "folder",
    ["vendor/paho", "_vendor", "third_party/x", "third-party", "tests/vendored", "external/lib/y"],
)
def test_what_was_copied_from_elsewhere_is_left_alone(repo, folder):
    repo.write(f"{folder}/tests/test_it.py", HELPER)
    assert repo.scan() == []


def test_a_repository_in_the_repository_is_left_alone(repo):
    repo.write("libs/gateway/.git", "gitdir: ../../.git/modules/gateway\n")
    repo.write("libs/gateway/tests/test_it.py", HELPER)
    assert repo.scan() == []
    repo.write("libs/meter/tests/test_it.py", HELPER)
    assert repo.scan()


PROGRAM = """
import subprocess
import sys
import time

import pytest

@pytest.fixture
def gateway(mqtt_client, session_mqtt_broker):
    process = subprocess.Popen({command})
    time.sleep(2)
    yield process
    process.kill()
"""


@pytest.mark.parametrize(
    "command",
    [
        "[sys.executable, '-m', 'gateway', '--port', str(session_mqtt_broker.port)]",
        "[sys.executable, 'src/gateway.py']",
        "f'python3 src/gateway.py --host {host}', shell=True",
        "['node', 'index.js', session_mqtt_broker.host]",
    ],
)
def test_a_program_of_theirs_says_itself_when_it_is_ready(repo, command):
    repo.write("src/gateway.py", "")
    repo.write("tests/conftest.py", PROGRAM.format(command=command))
    [wait] = repo.scan()
    assert wait.kind == "wait-for-background"
    assert wait.replacement.startswith("no wait of a fixed length: what the program publishes")


@pytest.mark.parametrize(
    "command",
    [
        "['redis-server', '--port', '7001']",
        "['Xvfb', ':99']",
        "[sys.executable, '-m', 'http.server', '8099']",
        "'exec postgres -D data', shell=True",
    ],
)
def test_another_program_is_no_matter_of_ours(repo, command):
    repo.write("tests/conftest.py", PROGRAM.format(command=command))
    assert repo.scan() == []


COMPOSED = """
import subprocess
import time

import pytest

@pytest.fixture(scope="module")
def stack():
    subprocess.run(["docker", "compose", "up", "-d"], check=True)
    time.sleep(5)
    yield
    subprocess.run(["docker", "compose", "down"])
"""


@pytest.mark.parametrize(
    ("image", "kinds"), [("eclipse-mosquitto:2", ["per-module-broker"]), ("postgres:16", [])]
)
def test_a_compose_file_says_whether_it_is_a_broker(repo, image, kinds):
    repo.write("docker-compose.yml", f"services:\n  it:\n    image: {image}\n")
    repo.write("tests/conftest.py", COMPOSED)
    assert [found.kind for found in repo.scan()] == kinds


def test_a_clock_has_to_go_on_before_the_task_runs(repo):
    """It is a wait as well, so it is found; but a call of the task alone would not do."""
    text = """
        import time

        def test_last_seen(camera_detector):
            first = camera_detector.cameras["door"].last_seen
            time.sleep(1)
            assert camera_detector.cameras["door"].last_seen > first
        """
    repo.write("tests/test_it.py", text)
    [wait] = repo.scan()
    assert wait.replacement.startswith("camera_detector.test_run_discovery_once() or ")
    assert "behind the pause" in wait.replacement
    repo.fix()
    assert (repo.folder / "tests/test_it.py").read_text() == dedent(text)
