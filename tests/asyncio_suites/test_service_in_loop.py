"""service_fixture for services that live in the loop of their test."""

import shutil

import pytest
from helpers.asyncio_ways import TESTS, WAYS, each_way
from helpers.drop_in import assert_nothing_left

pytestmark = pytest.mark.usefixtures("few_plugins")
pytest.importorskip("aiomqtt")

FIXTURE = """
from dimmer import Dimmer
from optimized_service_fixture import service_fixture, override_fixture

dimmer = service_fixture(
    Dimmer,
    run="run",
    hold="_report_forever",
    tasks={"run_report_once": "_report"},
    cleanup="stop",
)
started = service_fixture(Dimmer, start="start", cleanup="stop")
"""


@pytest.fixture(autouse=True)
def service(pytester):
    shutil.copy(TESTS / "helpers" / "dimmer.py", pytester.path)
    pytester.syspathinsert()


TEST = """
async def test_it(dimmer, mqtt_client, mqtt_monitor):
    mqtt_client.publish("lamp/set", "7", qos=1)
    [message] = await mqtt_monitor.wait_for("lamp/level")
    assert (message.payload, dimmer.level) == (b"7", 7)
    mqtt_monitor.assert_none("lamp/report")
    assert await dimmer.run_report_once() == "reported"
    await mqtt_monitor.wait_for("lamp/report", where=lambda m: m.payload == b"7")
    dimmer.test_enable_background_tasks()
    await mqtt_monitor.wait_for("lamp/report", count=2)
    services.append(dimmer)
"""


@each_way
def test_it_is_built_run_and_stopped_in_the_loop_of_the_test(pytester, way):
    result = way.run(
        pytester,
        f"""
services = []
{TEST}
@pytest.mark.parametrize("number", range(10))
async def test_subscriptions_are_in_force(dimmer, mqtt_client, mqtt_monitor, number):
    assert dimmer._loop is asyncio.get_running_loop()
    mqtt_client.publish("lamp/set", "1")
    await mqtt_monitor.wait_for("lamp/level")

async def test_with_start(started, mqtt_client, mqtt_monitor):
    mqtt_client.publish("lamp/set", "1")
    await mqtt_monitor.wait_for("lamp/level")

async def test_that_stops_it_itself(dimmer):
    await dimmer.stop()

def test_synchronous(mqtt_client, mqtt_monitor):
    assert all(service.is_stopped for service in services)
    mqtt_client.publish("lamp/set", "1")
    mqtt_monitor.assert_none("lamp/level")
""",
        conftest=FIXTURE,
    )
    assert_nothing_left(result, passed=14)
    assert result.stderr.str() == ""


TWO = """
def build() -> Dimmer:
    return Dimmer("hall")

hall = service_fixture(build, run="run", hold="_report_forever", cleanup="stop")
"""


@each_way
def test_the_end_of_a_service_leaves_another_in_its_loop_alone(pytester, way):
    result = way.run(
        pytester,
        """
async def test_it(dimmer, hall, mqtt_client, mqtt_monitor):
    for number, name in enumerate(["lamp", "hall", "lamp"]):
        mqtt_client.publish(f"{name}/set", str(number))
        await mqtt_monitor.wait_for(f"{name}/level", where=lambda m: int(m.payload) == number)
""",
        conftest=FIXTURE + TWO,
    )
    assert_nothing_left(result, passed=1)


ASYNC_FIXTURES = {
    "coroutine": "return Dimmer('slow')",
    "generator": "yield Dimmer('slow')",
}


@pytest.mark.parametrize("body", ASYNC_FIXTURES.values(), ids=ASYNC_FIXTURES)
@each_way
def test_it_takes_the_place_of_a_slow_async_fixture(pytester, way, body):
    decorator = "pytest.fixture" if way.plugin.startswith("anyio") else "pytest_asyncio.fixture"
    result = way.run(
        pytester,
        f"""
from dimmer import Dimmer
{"import pytest_asyncio" if "pytest_asyncio" in decorator else ""}
services = []

@{decorator}
async def lamp():
    await asyncio.sleep(60)
    {body}

@{decorator}
async def lit_lamp(lamp):
    await lamp.run_report_once()
    return lamp

{TEST.replace("dimmer", "lamp")}

async def test_with_a_fixture_that_uses_it(lit_lamp, mqtt_monitor):
    await mqtt_monitor.wait_for("lamp/report")
    assert lit_lamp.reports == 1
""",
        conftest=FIXTURE + 'override_fixture("lamp", dimmer)',
    )
    assert_nothing_left(result, passed=2)


def test_without_a_plugin_it_is_entered_by_the_test(pytester):
    result = WAYS["anyio"].run(
        pytester,
        """
import unittest
pytestmark = []
services = []

class TestIt(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def fixtures(self, dimmer, mqtt_client, mqtt_monitor):
        self.dimmer, self.client, self.monitor = dimmer, mqtt_client, mqtt_monitor

    async def asyncSetUp(self):
        self.service = await self.dimmer.__aenter__()
        self.addAsyncCleanup(self.dimmer.__aexit__, None, None, None)

    async def test_it(self):
        self.client.publish("lamp/set", "7")
        await self.monitor.wait_for("lamp/level")
        assert self.service.level == 7

    async def test_again(self):
        await self.service.run_report_once()
        await self.monitor.wait_for("lamp/report")

def test_with_asyncio_run(dimmer, mqtt_client, mqtt_monitor):
    async def main():
        async with dimmer as service:
            mqtt_client.publish("lamp/set", "7")
            await mqtt_monitor.wait_for("lamp/level")
            assert service.level == 7

    asyncio.run(main())
""",
        conftest=FIXTURE,
    )
    assert_nothing_left(result, passed=3)


def test_a_held_coroutine_that_is_left_is_named_as_held(pytester):
    test = """
tasks = set()

async def test_it(dimmer):
    tasks.add(asyncio.create_task(dimmer._report_forever()))
    await asyncio.sleep(0)
"""
    result = WAYS["strict-function"].run(pytester, test, conftest=FIXTURE)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*left running (cancelled)*", "*_report_forever, which is held*"])


def test_without_a_loop_of_asyncio_it_says_so(pytester):
    """As on trio, which runs coroutines, too."""
    tests = """
    def test_it(started):
        with pytest.raises(RuntimeError, match="let the fixture anyio_backend return 'asyncio'"):
            started.__aenter__().send(None)
    """
    result = WAYS["anyio"].run(pytester, tests, conftest=FIXTURE)
    assert_nothing_left(result, passed=1)
