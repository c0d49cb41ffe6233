"""What a user writes first, in every way to run async tests, test cases included."""

import pytest
from helpers.asyncio_ways import WAYS
from helpers.drop_in import assert_green_and_silent

pytestmark = pytest.mark.usefixtures("few_plugins")
pytest.importorskip("aiomqtt")

ROWS = """
import aiomqtt, unittest
from mqtt_test_broker import session_mqtt_broker

def endpoint(broker):
    return broker.host, broker.port

async def echo(client, subscribed):
    await client.subscribe("cmd", qos=1)
    subscribed.set()
    async for message in client.messages:
        await client.publish("state", message.payload, qos=1)

async def the_loop_of_the_service_goes_on(broker, mqtt_client, mqtt_monitor):
    async with aiomqtt.Client(*endpoint(broker)) as client:
        subscribed = asyncio.Event()
        service = asyncio.create_task(echo(client, subscribed))
        await subscribed.wait()
        mqtt_client.publish("cmd", "1")
        [message] = await mqtt_monitor.wait_for("state")
        assert message.payload == b"1"
        service.cancel()
        await asyncio.wait([service])

async def the_missing_await_is_named(broker, mqtt_client, mqtt_monitor):
    with pytest.raises(AssertionError, match="Write `await mqtt_monitor.wait_for"):
        [message] = mqtt_monitor.wait_for("state")

async def absence_is_exact_beside_an_open_client(broker, mqtt_client, mqtt_monitor):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with aiomqtt.Client(*endpoint(broker)) as client:
        for number in range(20):
            await client.publish("other", b"x", qos=number % 3)
            mqtt_monitor.assert_none("state")
    with pytest.raises(AssertionError, match="Nothing was to be published"):
        mqtt_monitor.assert_none("other")
    asyncio.get_running_loop().set_exception_handler(None)
    assert told == []

async def hard_coded_addresses_lead_to_the_broker(broker, mqtt_client, mqtt_monitor):
    async with aiomqtt.Client("localhost", 1883) as client:
        await client.publish("state", b"x")
    await mqtt_monitor.wait_for("state")
    reader, writer = await asyncio.open_connection("127.0.0.1", 1883)
    assert writer.get_extra_info("peername") == endpoint(broker)
    writer.close()
    await writer.wait_closed()

ROWS = [
    the_loop_of_the_service_goes_on,
    the_missing_await_is_named,
    absence_is_exact_beside_an_open_client,
    hard_coded_addresses_lead_to_the_broker,
]

def test_synchronous(mqtt_client, mqtt_monitor):
    mqtt_client.publish("cmd", "x")
    assert len(mqtt_monitor.wait_for("cmd")) == 1
    mqtt_monitor.assert_none("state")
"""

FUNCTION = """
@pytest.mark.parametrize("row", ROWS)
async def test_row(row, session_mqtt_broker, mqtt_client, mqtt_monitor):
    await row(session_mqtt_broker, mqtt_client, mqtt_monitor)
"""

TEST_CASE = """
class TestRow(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def fixtures(self, session_mqtt_broker, mqtt_client, mqtt_monitor):
        self.fixtures = session_mqtt_broker, mqtt_client, mqtt_monitor

for row in ROWS:
    async def run(self, row=row):
        await row(*self.fixtures)
    setattr(TestRow, f"test_{row.__name__}", run)
"""

LED = "from shared_mqtt_pool import redirect_to_test_broker\nredirect_to_test_broker()\n"

TESTS = {"unittest": ("anyio", TEST_CASE), **{name: (name, FUNCTION) for name in WAYS}}


@pytest.mark.parametrize(("name", "tests"), TESTS.values(), ids=TESTS)
def test_rows(pytester, name, tests):
    way = WAYS[name]._replace(mark="[]") if tests is TEST_CASE else WAYS[name]
    result = way.run(pytester, ROWS + tests, conftest=LED)
    assert_green_and_silent(result, passed=5)
