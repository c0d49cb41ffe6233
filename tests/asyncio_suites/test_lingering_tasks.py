"""What async tests leave running is ended, within a second, and named."""

import re
import time

import pytest
from helpers.asyncio_ways import WAYS, each_way

pytestmark = pytest.mark.usefixtures("few_plugins")
aiomqtt = pytest.importorskip("aiomqtt")

LEFT = "*asyncio tasks left running (cancelled)*"

SERVICE = """
import aiomqtt

class Service:
    async def run(self, broker, started):
        async with aiomqtt.Client(broker.host, broker.port) as client:
            await client.subscribe("cmd")
            started.set()
            async for message in client.messages:
                await client.publish("state", message.payload)

    async def stubborn(self):
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

async def started(broker):
    begun = asyncio.Event()
    task = asyncio.create_task(Service().run(broker, begun))
    await begun.wait()
    return task
"""

FOLLOWED = """
def test_synchronous(mqtt_client, mqtt_monitor):
    mqtt_client.publish("cmd")
    mqtt_monitor.assert_none("state")
"""


@each_way
def test_a_service_that_is_left_running_is_ended_and_named(pytester, way):
    begin = time.monotonic()
    result = way.run(
        pytester,
        SERVICE
        + """
@pytest.mark.parametrize("number", range(10))
async def test_left(session_mqtt_broker, mqtt_client, mqtt_monitor, number):
    task = await started(session_mqtt_broker)
    mqtt_client.publish("cmd")
    await mqtt_monitor.wait_for("state")

async def test_alone(mqtt_monitor):
    assert len(asyncio.all_tasks()) <= 2  # anyio has one of its own
"""
        + FOLLOWED,
        "-p",
        "no:randomly",
    )
    result.assert_outcomes(passed=12)
    assert time.monotonic() - begin < 10
    result.stdout.fnmatch_lines([LEFT])
    named = re.findall(r"test_left\[(\d)\]: task Service\.run, .*test_it\.py:", result.stdout.str())
    assert sorted(map(int, named)) == list(range(10))
    assert "fixtures of a wider" not in result.stdout.str()


@each_way
def test_one_that_swallows_cancellations_is_cancelled_again(pytester, way):
    result = way.run(
        pytester,
        SERVICE
        + """
async def test_left(mqtt_monitor):
    asyncio.get_running_loop().create_task(Service().stubborn())
    await asyncio.sleep(0)
    with pytest.raises(AssertionError):
        await mqtt_monitor.wait_for("x", timeout=0)
"""
        + FOLLOWED,
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([LEFT, "*Service.stubborn*did not let itself be cancelled*"])


WIDER = """
{imports}

@pytest.fixture(scope={scope!r})
def anyio_backend():
    return "asyncio"

async def handle():
    await asyncio.Event().wait()

async def serve(client, handling):
    await client.subscribe("cmd")
    async for message in client.messages:
        handling.append(asyncio.create_task(handle()))
        later = lambda: handling.append(asyncio.ensure_future(handle()))
        asyncio.get_running_loop().call_soon(later)
        await client.publish("state", message.payload)

@{fixture}(scope={scope!r})
async def hub(session_mqtt_broker):
    async with aiomqtt.Client(session_mqtt_broker.host, session_mqtt_broker.port) as client:
        handling = []
        serving = asyncio.create_task(serve(client, handling))
        await asyncio.sleep(0.1)
        yield
        assert [task.done() for task in (serving, *handling)] == [False] * 7
        for task in (serving, *handling):
            task.cancel()
        await asyncio.wait([serving, *handling])

@pytest.mark.parametrize("number", range(3))
async def test_left(hub, mqtt_client, mqtt_monitor, number):
    mqtt_client.publish("cmd")
    await mqtt_monitor.wait_for("state")
    asyncio.create_task(Service().stubborn())
    await asyncio.sleep(0)
"""


@pytest.mark.parametrize("name", [name for name in WAYS if not name.endswith("function")])
@pytest.mark.slow
def test_what_a_service_of_a_wider_scope_creates_is_left_to_it(pytester, name):
    is_anyio, scope = name == "anyio", "session" if name == "anyio" else name.partition("-")[2]
    wider = WIDER.format(
        imports="" if is_anyio else "import pytest_asyncio",
        fixture="pytest.fixture" if is_anyio else "pytest_asyncio.fixture",
        scope=scope,
    )
    result = WAYS[name].run(pytester, SERVICE + wider)
    result.assert_outcomes(passed=3)
    named = re.findall(r"::test_left\[(\d)\]: task Service\.stubborn", result.stdout.str())
    assert sorted(named) == ["0", "1", "2"]
    assert result.stdout.str().count(": task ") == 3


def test_a_wait_of_the_monitor_is_named_as_such(pytester):
    result = WAYS["strict-function"].run(
        pytester,
        """
async def test_left(mqtt_monitor):
    asyncio.create_task(mqtt_monitor.wait_for("x", timeout=60))
    await asyncio.sleep(0)
""",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([LEFT, "*test_left: task mqtt_monitor.wait_for('x', ...). *"])


@each_way
def test_leaks_on_purpose_excuses_them(pytester, way):
    result = way.run(
        pytester,
        SERVICE
        + """
@pytest.mark.leaks_on_purpose
async def test_left(session_mqtt_broker, prompt_mqtt_clients, mqtt_client, mqtt_monitor):
    await started(session_mqtt_broker)
""",
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line(LEFT)


@each_way
def test_tasks_that_end_with_their_test_are_not_named(pytester, way):
    result = way.run(
        pytester,
        SERVICE
        + """
async def test_ended(session_mqtt_broker, mqtt_monitor):
    task = await started(session_mqtt_broker)
    task.cancel()
    await asyncio.wait([task])

def test_a_program_that_leaves_it_to_asyncio_run(mqtt_monitor):
    async def main():
        asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)

    asyncio.run(main())
""",
    )
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line(LEFT)


def test_what_a_testcase_leaves_is_ended_and_named(pytester):
    begin = time.monotonic()
    result = WAYS["anyio"].run(
        pytester,
        SERVICE
        + """
import unittest
pytestmark = []

class TestIt(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def fixtures(self, mqtt_monitor):
        self.monitor = mqtt_monitor

    async def test_left(self):
        asyncio.create_task(Service().stubborn())
        await asyncio.sleep(0)
        self.monitor.assert_none("x")
"""
        + FOLLOWED,
    )
    result.assert_outcomes(passed=2)
    assert time.monotonic() - begin < 30
    result.stdout.fnmatch_lines([LEFT, "*test_left: task Service.stubborn*at once*"])
