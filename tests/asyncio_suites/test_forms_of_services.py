"""The forms in which asyncio services come: used, left running, followed by a synchronous test."""

import importlib.util
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.asyncio_ways import WAYS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_plugins")]

FOLDER = Path(__file__).with_name("forms")


class Form(NamedTuple):
    """How a service is used: what makes a fixture of it, and what begins it by hand."""

    fixture: str
    begin: str
    cleanup: str = ""
    serve: str = "pass"


TASK = Form("Service, run='run'", "asyncio.create_task(Service().run())")
STARTED = Form("Service, start='start'", "await Service().start()")

FORMS = {
    "one_coroutine": TASK,
    "reconnecting": TASK,
    "exit_stack": STARTED._replace(fixture="Service, start='start', hold='_tick'"),
    "task_group": TASK,
    "workers": STARTED,
    "stop_event": TASK,
    "context_manager": Form(
        "Service, start='__aenter__'", "await Service().__aenter__()", ", cleanup='__aexit__'"
    ),
    "builder": Form("build", "await build()"),
    "paho_in_the_loop": STARTED,
    "paho_thread": TASK,
    "paho_executor": TASK,
    "loop_in_a_thread": Form(  # its thread is held
        "Service, start='start'",
        "Service().start()",
        serve="service.test_enable_background_tasks(); assert service.subscribed.wait(5)",
    ),
    "with_amqtt": STARTED,
    "with_gmqtt": STARTED,  # gmqtt 0.8 brings a package `tests` of its own, and is not locked
}

LIBRARIES = {"with_amqtt": "amqtt", "with_gmqtt": "gmqtt"}

INSTALLED = {
    name: form
    for name, form in FORMS.items()
    if importlib.util.find_spec(LIBRARIES.get(name, "aiomqtt"))
}

CONFTEST = """
import asyncio, threading

left = []

@pytest.fixture
def use(mqtt_client, mqtt_monitor):
    threads = set(threading.enumerate())
    async def use(service):
        mqtt_client.publish("cmd", b"used", qos=1)
        [message] = await mqtt_monitor.wait_for("state")
        assert message.payload == b"used"
        mqtt_monitor.assert_none("alarm")
        left.append((service, asyncio.all_tasks(), set(threading.enumerate()) - threads))
    return use

@pytest.fixture
def leave_running(prompt_mqtt_clients, session_mqtt_broker, monkeypatch, mqtt_client, mqtt_monitor):
    monkeypatch.setenv("MQTT_HOST", session_mqtt_broker.host)
    monkeypatch.setenv("MQTT_PORT", str(session_mqtt_broker.port))
    async def leave(begin):
        mqtt_client.publish("cmd", b"left", qos=1, retain=True)  # it comes as it subscribes
        service = await begin()
        [message] = await mqtt_monitor.wait_for("state")
        assert message.payload == b"left"
        mqtt_client.publish("cmd", b"", retain=True)  # or the tear-down would send it this
        await mqtt_monitor.wait_for("state", where=lambda m: not m.payload)
        # A thread that the test itself has started is left to it.
        left.append((service, asyncio.all_tasks(), set()))
    return leave

@pytest.fixture
def nothing_runs(mqtt_client, mqtt_monitor):
    mqtt_client.publish("cmd", "nobody", qos=1)
    mqtt_monitor.assert_none("state")
    ran, left[:] = left[:], []
    assert len(ran) == 6
    for _service, tasks, threads in ran:
        assert [task for task in tasks if not task.done()] == []
        # An idle thread of the loop's executor ends with the loop.
        assert [t for t in threads if t.is_alive() and not t.name.startswith("asyncio_")] == []
"""

SERVICE = """
import asyncio
import unittest
import pytest
from {name} import *
from optimized_service_fixture import service_fixture

fast = service_fixture({form.fixture}{form.cleanup})
unstopped = service_fixture({form.fixture}, cleanup=())

def serve(service):
    {form.serve}

async def begin():
    return {form.begin}
"""

FUNCTIONS = """
pytestmark = {mark}

@pytest.mark.parametrize("number", range(3))
async def test_used(use, fast, number):
    serve(fast)
    await use(fast)

async def test_never_stopped(use, unstopped):
    serve(unstopped)
    await use(unstopped)

@pytest.mark.parametrize("number", range(2))
async def test_left_running(leave_running, number):
    await leave_running(begin)
"""

TEST_CASE = """
class Used:
    async def asyncSetUp(self):
        self.service = self.fast
        if not isinstance(self.fast, Service):  # a synchronous one is started already
            self.service = await self.fast.__aenter__()
            self.addAsyncCleanup(self.fast.__aexit__, None, None, None)
        serve(self.service)

    async def test_used(self):
        await self.use(self.service)

class TestUsed(Used, unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def fixtures(self, use, fast):
        self.use, self.fast = use, fast

    test_again = test_yet_again = Used.test_used

class TestNeverStopped(Used, unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def fixtures(self, use, unstopped):
        self.use, self.fast = use, unstopped

class TestLeft(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def fixtures(self, leave_running):
        self.leave_running = leave_running

    async def test_left_running(self):
        await self.leave_running(begin)

    test_again = test_left_running
"""

FOLLOWED = """
def test_synchronous(nothing_runs):
    pass
"""

TESTS = {
    "unittest": ("anyio", TEST_CASE),
    **{name: (name, FUNCTIONS.format(mark=way.mark)) for name, way in WAYS.items()},
}

# What clients of other libraries leave, and they of their own transports.
FOREIGN = ("DeprecationWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(("name", "tests"), TESTS.values(), ids=TESTS)
def test_forms(pytester, name, tests):
    """Each in a module of its own, all in one run."""
    repository = WAYS[name].prepare(pytester, CONFTEST)
    shutil.copytree(FOLDER, pytester.path, dirs_exist_ok=True)
    for form in INSTALLED:
        service = SERVICE.format(name=form, form=INSTALLED[form])
        repository.tests.joinpath(f"test_{form}.py").write_text(service + tests + FOLLOWED)
    ignored = [f"-Wignore::{warning}" for warning in FOREIGN]
    result = repository.run("-p", WAYS[name].plugin, *ignored)
    result.assert_outcomes(passed=7 * len(INSTALLED))
    # Each that was left is named, once a test.
    named = re.findall(r"test_(\w+)\.py::\S*(?:left|Left)", result.stdout.str())
    assert set(named) == set(INSTALLED)
