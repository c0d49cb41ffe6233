"""`scripts/migrate.py fix` replaces brokers started by hand wherever they are, or says why not."""

import socket
from textwrap import dedent

import pytest
from helpers.migrating_user import NEEDS_LIBCST

SLEEPING = """\
import subprocess
import time


def start(port):
    broker = subprocess.Popen(["mosquitto", "-p", str(port)])
    time.sleep(1)
    return broker
"""

FIXTURE = """\
import subprocess
import time

import pytest


@pytest.fixture{}
def broker():
    process = subprocess.Popen(["mosquitto", "-p", "18840"])
    time.sleep(1)
    yield process
    process.terminate()
    process.wait()
"""

FIXED = "    return TestMQTTBroker(port=port).start()\n"


def fixed_at(repo, name, text=SLEEPING):
    """The file *name* after a fix, which leaves nothing certain to be done."""
    path = repo.write(name, text)
    repo.fix()
    assert repo.fixed() == {}
    assert not any(finding.certain for finding in repo.scan())
    return path.read_text()


@pytest.fixture
def wired(repo):
    repo.write("tests/mqtt_test_broker.py", "_register()\n")
    repo.write("tests/conftest.py", "")
    return repo


@pytest.mark.parametrize(
    "use",
    [
        "_, said = broker.communicate(timeout=5)",
        "broker.send_signal(signal.SIGHUP)",
        "assert broker.returncode is None",
    ],
)
def test_what_a_broker_has_of_a_process_keeps_no_start_from_being_replaced(wired, use):
    test = f"def test_it():\n    broker = start(18841)\n    {use}\n    broker.kill()\n"
    wired.write("tests/test_use.py", f"import signal\nfrom helper import start\n{test}")
    assert FIXED in fixed_at(wired, "tests/helper.py")


@pytest.mark.parametrize(
    "name",
    [
        "tests/helper.py",
        "tests/helpers/__init__.py",
        "tests/helpers/brokers.py",
        "tests/unit/conftest.py",
        "tests/unit/deep/test_it.py",
        "tests/test_it.py",
    ],
)
def test_everywhere_below_the_modules(wired, name):
    text = fixed_at(wired, name)
    assert text.startswith("from mqtt_test_broker import TestMQTTBroker\n\n\ndef start(port):\n")
    assert text.endswith(FIXED)


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("tests/helper.py", "from .mqtt_test_broker import"),
        ("tests/helpers/__init__.py", "from ..mqtt_test_broker import"),
        ("tests/helpers/net/brokers.py", "from ...mqtt_test_broker import"),
        ("tests/unit/test_it.py", "from tests.mqtt_test_broker import"),
    ],
)
def test_in_packages(wired, name, imported):
    for folder in ("tests", "tests/helpers", "tests/helpers/net"):
        wired.write(f"{folder}/__init__.py", "")
    text = fixed_at(wired, name)
    assert text.startswith(f"{imported} TestMQTTBroker\n")
    assert text.endswith(FIXED)


@pytest.mark.parametrize("scope", ["", '(scope="module")', '(scope="session")', '(name="b")'])
def test_in_fixtures_of_any_scope(wired, scope):
    text = fixed_at(wired, "tests/unit/conftest.py", FIXTURE.format(scope))
    assert "    process = TestMQTTBroker(port=18840).start()\n    yield process\n" in text


def test_in_a_test_and_in_a_class(wired):
    text = """\
        import subprocess
        import time


        class TestIt:
            def test_it(self):
                self.broker = subprocess.Popen(["mosquitto"])
                time.sleep(1)
                assert self.broker.poll() is None
        """
    after = fixed_at(wired, "tests/test_it.py", text)
    assert "        self.broker = TestMQTTBroker(port=1883).start()\n        assert" in after


def test_a_process_of_another_program_is_no_reason(wired):
    wired.write(
        "tests/test_cli.py",
        """
        import subprocess
        import sys

        def test_version():
            done = subprocess.run(["gateway", "--version"], capture_output=True)
            assert done.returncode == 0
            assert done.stdout == b"1.0"
            print("ok", file=sys.stderr)
        """,
    )
    assert fixed_at(wired, "tests/helper.py").endswith(FIXED)


def reason(repo, name, text=SLEEPING):
    """Why a start is left, as scan says it; fix changes nothing."""
    path = repo.write(name, text)
    before = path.read_text()
    repo.fix()
    assert path.read_text() == before
    [found] = [f for f in repo.scan() if "broker" in f.kind]
    return found.replacement.partition("(fix leaves it: ")[2]


def test_the_reason_is_that_it_is_not_applied(repo):
    assert reason(repo, "tests/helper.py") == "mqtt_test_broker.py is not there yet (apply))"


def test_the_reason_is_that_it_is_imported_by_two_names(wired):
    for folder in ("tests", "tests/helpers"):
        wired.write(f"{folder}/__init__.py", "")
    wired.write("tests/test_it.py", "from helpers.brokers import start\n")
    why = reason(wired, "tests/helpers/brokers.py")
    assert why == "tests/test_it.py imports helpers.brokers without tests)"


def test_the_reason_is_the_import_mode(wired):
    wired.write("tests/__init__.py", "")
    wired.write(
        "pyproject.toml", '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\n'
    )
    why = reason(wired, "tests/unit/test_it.py")
    assert why.startswith("tests/unit has no __init__.py, so how it imports mqtt_test_broker is")


def test_the_reason_is_what_a_test_does_with_the_process(wired):
    wired.write("tests/test_log.py", "def test_log(broker):\n    assert broker.stderr.read()\n")
    why = reason(wired, "tests/conftest.py", FIXTURE.format(""))
    assert why == "tests/test_log.py:2 may need its process: broker.stderr)"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            '"mosquitto", "-p", str(port)',
            '"mosquitto", "-c", "x.conf"',
            "its command line is not",
        ),
        (
            '"mosquitto", "-p", str(port)',
            '"hbmqtt"',
            "it is hbmqtt, which TestMQTTBroker",
        ),
        ("subprocess.Popen(", "subprocess.run(", "subprocess.run() gives something else than"),
        ("time.sleep(1)", "wait_for_port(port)", "no sleep stands right behind it"),
        ("broker = subprocess", "return subprocess", "its process is not assigned to one name"),
        ("    time.sleep(1)", "    time.sleep(1); port = 1", "it shares its line"),
        ("(port)])", "(port)], stdout=open('b.log'))", "its stdout goes to open('b.log')"),
        ("import subprocess", "# coding: latin-1\nimport subprocess", "its file is not in UTF-8"),
    ],
)
def test_the_reason_is_in_its_place(wired, old, new, why):
    assert reason(wired, "tests/helper.py", SLEEPING.replace(old, new)).startswith(why)


def test_the_reason_is_that_it_is_entered(wired):
    text = """\
        import subprocess
        import time


        def test_it():
            with subprocess.Popen(["mosquitto", "-p", "18840"]) as broker:
                time.sleep(1)
                assert broker.poll() is None
        """
    assert reason(wired, "tests/test_it.py", text) == "its process is not assigned to one name)"


def test_a_start_and_the_sleep_behind_it_are_one_finding(wired):
    wired.write("tests/conftest.py", FIXTURE.format('(scope="module")'))
    [found] = [f for f in wired.scan() if f.kind != "fixed-port"]
    assert (found.kind, found.line, found.certain) == ("per-module-broker", 9, True)
    assert found.replacement.startswith("the fixture session_mqtt_broker: one broker")
    assert "process = TestMQTTBroker(port=18840).start(), of mqtt_test_broker" in found.replacement


ONE_CAUSE = {
    "entered": """
        def test_it():
            with subprocess.Popen(["mosquitto", "-p", port()]) as broker:  #!per-test-broker
                time.sleep(1)
                assert broker.poll() is None
        """,
    "entered by a stack": """
        def test_it():
            with contextlib.ExitStack() as stack:
                stack.enter_context(subprocess.Popen(["mosquitto"]))  #!per-test-broker
                time.sleep(1)
        """,
    "entered by a stack that outlives it": """
        def start(stack):
            broker = stack.enter_context(Container("emqx"))
            broker.end = stack.enter_context(Popen(["mosquitto"]))  #!helper-starts-broker
            time.sleep(1)
            return broker
        """,
    "of the process, registered first": """
        @pytest.fixture
        def broker(request):
            process = subprocess.Popen(["mosquitto"])  #!per-test-broker
            request.addfinalizer(process.kill)
            time.sleep(1)
            return process
        """,
    "entered, async": """
        @pytest.fixture
        async def broker():
            async with Broker({}) as broker:  #!per-test-broker
                await asyncio.sleep(0.5)
                yield broker
        """,
    "in the process": """
        @pytest.fixture
        async def broker():
            broker = Broker({})  #!per-test-broker
            task = asyncio.create_task(broker.start())
            await asyncio.sleep(0.5)
            yield broker
            task.cancel()
        """,
    "in the process, of a TestCase": """
        class TestIt(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                self.broker = Broker({})  #!per-test-broker
                await self.broker.start()
                await asyncio.sleep(0.5)
        """,
    "in a helper that starts and sleeps": """
        async def start():
            broker = Broker({})  #!helper-starts-broker
            await broker.start()
            await asyncio.sleep(0.5)
            return broker

        async def test_it():
            broker = await start()
            await broker.shutdown()
        """,
    "behind a helper, in a fixture": """
        @contextlib.contextmanager
        def running():
            process = subprocess.Popen(["mosquitto"])  #!helper-starts-broker
            yield process
            process.kill()

        @pytest.fixture
        def broker():
            with running() as process:  #!per-test-broker
                time.sleep(1)
                yield process
        """,
    "of the test, not of the broker": """
        @pytest.fixture
        async def service():
            broker = Broker({})  #!per-test-broker
            await broker.start()
            service = Service()
            await asyncio.sleep(0.5)  #!wait-for-background
            yield service
        """,
    "twice": """
        def test_it():
            broker = subprocess.Popen(["mosquitto"])  #!per-test-broker
            time.sleep(1)
            other = subprocess.Popen(["mosquitto", "-p", "1884"])  #!per-test-broker
            time.sleep(1)
            assert broker.poll() is other.poll() is None
        """,
}


@pytest.mark.parametrize("text", ONE_CAUSE.values(), ids=ONE_CAUSE)
def test_a_sleep_for_a_broker_is_told_with_its_start(repo, text):
    head = "import asyncio, contextlib, subprocess, time, unittest\nimport pytest\n"
    head += "from subprocess import Popen\nfrom amqtt.broker import Broker\n"
    repo.write("tests/test_it.py", head + dedent(text))
    assert {m for m in repo.marks() if m[2] != "fixed-port"} == repo.planted()


def test_the_start_names_the_sleep_that_goes_with_it(repo):
    text = "import asyncio\nimport pytest\nfrom amqtt.broker import Broker\n"
    repo.write("tests/test_it.py", text + dedent(ONE_CAUSE["entered, async"]))
    [found] = repo.scan()
    assert found.replacement.endswith("; without the sleep in line 8")


USER = """\
import subprocess
import time

import pytest
from paho.mqtt import publish

from {helpers} import start


@pytest.fixture(scope="module")
def broker():
    process = subprocess.Popen(["mosquitto", "-p", "{port}"])
    time.sleep(1)
    yield process
    process.terminate()
    assert process.wait() == 0


def test_a_fixture(broker):
    publish.single("a", "b", port={port})
    assert broker.poll() is None


def test_a_helper():
    other = start({other})
    publish.single("a", "b", port={other})
    other.terminate()
    other.communicate()
"""


@pytest.mark.slow
@NEEDS_LIBCST
@pytest.mark.parametrize("package", [False, True])
def test_what_fix_writes_in_sub_folders_runs(user, hard_port, package):
    (user.root / "tests/test_detect.py").unlink()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        names = {"port": hard_port, "other": holder.getsockname()[1]}
    helpers = "helpers" if not package else "tests.helpers"
    user.write("tests/helpers/__init__.py", SLEEPING)
    user.write("tests/unit/test_it.py", USER.format(helpers=helpers, **names))
    if package:
        user.write("tests/__init__.py", "")
    user.wire(3)
    user.migrate("fix")
    text = user.read("tests/unit/test_it.py") + user.read("tests/helpers/__init__.py")
    assert text.count("TestMQTTBroker(port=") == 2
    assert "Popen" not in text
    run = user.pytest()
    assert run.returncode == 0, run.stdout
    assert "2 passed" in run.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("subprocess.Popen", "TestMQTTBroker"),
        ("subprocess.Popen[bytes]", "TestMQTTBroker"),
        ("'subprocess.Popen[bytes]'", "'TestMQTTBroker'"),
        ("subprocess.Popen | None", "TestMQTTBroker | None"),
        ("object", "object"),
    ],
)
def test_what_a_function_is_said_to_return_is_true_then(wired, before, after):
    text = fixed_at(wired, "tests/brokers.py", SLEEPING.replace("):", f") -> {before}:", 1))
    assert f"def start(port) -> {after}:\n" in text
    assert "subprocess" not in text


def test_what_may_return_another_process_says_so_still(wired):
    other = "    if port == 0:\n        return subprocess.Popen([NOTHING])\n    broker"
    text = SLEEPING.replace("):", ") -> subprocess.Popen:", 1).replace("    broker", other, 1)
    text = fixed_at(wired, "tests/brokers.py", text)
    assert "def start(port) -> subprocess.Popen:\n" in text
    assert "TestMQTTBroker(port=port).start()" in text


PLANTED = {
    "brokers of wider scopes": """
        import subprocess
        import pytest
        from mqtt_test_broker import TestMQTTBroker

        @pytest.fixture(scope="module")
        def of_a_module():
            broker = subprocess.Popen(["mosquitto", "-c", "x.conf"])  #!per-module-broker
            yield broker
            broker.terminate()

        @pytest.fixture(scope="class")
        def of_a_class():
            with TestMQTTBroker() as broker:  #!per-module-broker
                yield broker

        @pytest.fixture(scope="package")
        def with_a_password():
            with TestMQTTBroker(username="u", password="p") as broker:
                yield broker

        @pytest.fixture(scope="session")
        def of_the_session():
            with TestMQTTBroker() as broker:
                yield broker
        """,
    "brokers that are not mosquitto": """
        import asyncio
        import subprocess
        import sys
        import time

        import docker
        import pytest
        from amqtt.broker import Broker
        from testcontainers.core.container import DockerContainer

        def start_hbmqtt():
            broker = subprocess.Popen(["hbmqtt", "-c", "x.yaml"])  #!helper-starts-broker
            time.sleep(2)
            return broker

        @pytest.fixture
        def amqtt_program():
            broker = subprocess.Popen([sys.executable, "-m", "amqtt.scripts.x"])  #!per-test-broker
            time.sleep(2)
            yield broker
            broker.kill()

        @pytest.fixture
        async def amqtt_object():
            broker = Broker({})  #!per-test-broker
            await broker.start()
            await asyncio.sleep(1)
            yield broker
            await broker.shutdown()

        @pytest.fixture(scope="module")
        def emqx():
            subprocess.run(["sudo", "emqx", "start"])  #!per-module-broker
            time.sleep(5)
            yield
            subprocess.run(["sudo", "emqx", "stop"])

        @pytest.fixture(scope="session")
        def nanomq():
            subprocess.run("nanomq start --conf x.conf &", shell=True)  #!helper-starts-broker
            time.sleep(1)
            yield

        @pytest.fixture
        def in_docker():
            subprocess.run("docker run -p 1884:1883 emqx/emqx", shell=True)  #!per-test-broker
            time.sleep(10)
            yield

        @pytest.fixture
        def by_docker_s_library():
            container = docker.from_env().containers.run("vernemq/vernemq")  #!per-test-broker
            time.sleep(10)
            yield container

        @pytest.fixture(scope="module")
        def composed():
            subprocess.run(["docker", "compose", "up", "-d", "mosquitto"])  #!per-module-broker
            time.sleep(3)
            yield

        @pytest.fixture(scope="class")
        def contained():
            with DockerContainer("hivemq/hivemq4") as container:  #!per-module-broker
                yield container

        def test_of_the_system():
            subprocess.run(["sudo", "systemctl", "restart", "mosquitto"])  #!per-test-broker

        def test_of_a_shell():
            subprocess.Popen(["sh", "-c", "cd /tmp && exec mosquitto -p 1884"])  #!per-test-broker
        """,
}


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED)
def test_brokers_of_all_scopes_and_makes_are_found(repo, text):
    """A comment `#!kind` says what has to be found in that line; nothing else may."""
    repo.write("tests/test_it.py", text)
    assert repo.marks() == repo.planted()
