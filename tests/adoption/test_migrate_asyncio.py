"""What `scripts/migrate.py scan` finds in suites that use asyncio, and what `fix` writes there."""

from textwrap import dedent, indent

import pytest
from helpers.scanned_repository import fixed

FOUND = """
import asyncio
import subprocess
import unittest

import pytest
import pytest_asyncio
from aiomqtt import Client
from amqtt.broker import Broker

async def settle():
    await asyncio.sleep(0.5)  #!wait-for-background

async def wait_for_lamp(client):
    while not client.is_connected():
        await asyncio.sleep(0.1)  #!wait-for-background

@pytest_asyncio.fixture
async def own_object():
    broker = Broker({})  #!per-test-broker
    await broker.start()
    yield broker
    await broker.shutdown()

@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def own_process():
    process = await asyncio.create_subprocess_exec("mosquitto", "-p", "18830")  #!per-module-broker
    await asyncio.sleep(1)
    yield process
    process.terminate()
    await process.wait()

@pytest.fixture
async def own_shell():
    process = await asyncio.create_subprocess_shell("exec mosquitto -v")  #!per-test-broker
    while not await answers(process):
        await asyncio.sleep(0.1)  #!wait-for-background
    yield

async def test_sleep(mqtt_service):
    await asyncio.sleep(1)  #!wait-for-background
    assert mqtt_service.level == 7

async def test_poll(mqtt_service):
    while not mqtt_service.connected:
        await asyncio.sleep(0.05)  #!wait-for-background
    assert mqtt_service.connected

async def test_deadline(mqtt_service):
    async with asyncio.timeout(5):
        while True:
            if mqtt_service.connected:
                break
            await asyncio.sleep(0.05)  #!wait-for-background
    assert mqtt_service.connected

async def test_helpers(mqtt_service):
    await settle()
    await wait_for_lamp(mqtt_service)
    assert mqtt_service.level == 7

async def test_subscription():
    async with Client("localhost", 18830) as client:
        await client.subscribe("lamp/#")
        await asyncio.sleep(0.5)  #!wait-for-background
        assert client.is_connected()

def test_in_a_plain_function(mqtt_service):
    async def main():
        await asyncio.sleep(1)  #!wait-for-background
        assert mqtt_service.level == 7

    asyncio.run(main())

def test_seen_by_the_plain_function(mqtt_service):
    async def main():
        mqtt_service.start()
        await asyncio.sleep(1)  #!wait-for-background

    asyncio.run(main())
    assert mqtt_service.level == 7

async def collect(client, received):
    async for message in client.messages:
        received.append(message)

async def test_collected(lamp_client):
    received = []
    task = asyncio.create_task(collect(lamp_client, received))
    await asyncio.sleep(0.5)  #!wait-for-background
    assert len(received) == 1
    task.cancel()

async def test_listened(lamp_client):
    received = []

    async def listen():
        async for message in lamp_client.messages:
            received.append(message)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.5)  #!wait-for-background
    assert received
    task.cancel()

async def test_a_simulated_lamp(lamp_client, mqtt_service):
    async def lamp():
        async for message in lamp_client.messages:
            await asyncio.sleep(0.1)
            await lamp_client.publish("lamp/level", message.payload)

    task = asyncio.create_task(lamp())
    assert await mqtt_service.dim(7) == 7
    task.cancel()

async def test_a_helper_of_its_own(mqtt_service):
    async def wait_until(condition):
        while not condition():
            await asyncio.sleep(0.05)  #!wait-for-background

    await wait_until(lambda: mqtt_service.connected)
    assert mqtt_service.connected

def test_run(mqtt_service):
    asyncio.run(asyncio.sleep(1))  #!wait-for-background
    assert mqtt_service.level == 7

async def test_beside(mqtt_service):
    task = asyncio.create_task(asyncio.sleep(60))
    mqtt_service.watch(task)
    assert mqtt_service.watched == 1

class LampTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = Client("localhost")
        await self.client.__aenter__()
        await asyncio.sleep(0.2)  #!wait-for-background

    async def test_lamp(self):
        await self.client.publish("lamp/set", "7")
        await asyncio.sleep(0.5)  #!wait-for-background
        self.assertEqual(self.client.level, 7)
"""


def test_waits_and_brokers_of_asyncio_are_found(repo):
    repo.write("tests/test_lamp.py", FOUND)
    assert repo.marks() == repo.planted()


def replacement(repo, text):
    repo.write("tests/test_lamp.py", f"import asyncio\n{text}")
    [found] = repo.scan()
    return found.replacement


def test_the_advice_is_to_await(repo):
    look = "    await asyncio.sleep(1)\n    assert mqtt_service.level == 7\n"
    text = f"async def test_lamp(mqtt_service):\n{look}"
    assert replacement(repo, text).startswith("await mqtt_monitor.wait_for(topic)")
    subscribe = f"async def test_lamp(mqtt_service):\n    await mqtt_service.subscribe('a')\n{look}"
    assert replacement(repo, subscribe).startswith("no wait: an awaited subscribe() is over")


HEAD = """\
import asyncio

NOTHING = asyncio.Event


async def test_it({}):
"""


def fixed_body(repo, body, params="mqtt_monitor, mqtt_client"):
    """Return the body of an async test after a fix."""
    head = HEAD.format(params)
    after = fixed(repo, head + indent(dedent(body), "    "))
    assert after.startswith(head)
    return dedent(after[len(head) :])


@pytest.mark.parametrize(
    ("wait", "look", "awaited"),
    [
        (
            "await asyncio.sleep(1)",
            "assert any(m.topic == 'lamp' for m in mqtt_monitor.messages)",
            "await mqtt_monitor.wait_for('lamp')",
        ),
        (
            "await asyncio.sleep(20)",
            "assert len(mqtt_monitor.messages) == 2",
            'await mqtt_monitor.wait_for("#", count=2, timeout=20)',
        ),
        (
            "while not mqtt_monitor.messages:\n    await asyncio.sleep(0.1)",
            "[message] = mqtt_monitor.messages\nassert message.payload == b'7'",
            'await mqtt_monitor.wait_for("#")',
        ),
        (
            "for _ in range(9):\n    if mqtt_monitor.messages:\n        break\n"
            "    await asyncio.sleep(0.1)",
            "assert mqtt_monitor.messages",
            'await mqtt_monitor.wait_for("#")',
        ),
    ],
)
def test_what_is_certain_becomes_an_awaited_wait(repo, wait, look, awaited):
    act = 'mqtt_client.publish("lamp/set", "7")'
    assert fixed_body(repo, f"{act}\n{wait}\n{look}\n") == f"{act}\n{awaited}\n{look}\n"


def test_a_coroutine_in_a_plain_test_is_rewritten_too(repo):
    before = """\
        import asyncio


        def test_it(mqtt_monitor, mqtt_client):
            async def main():
                mqtt_client.publish("lamp/set", "7")
                await asyncio.sleep(1)
                assert mqtt_monitor.messages[1].payload == b"7"

            asyncio.run(main())
        """
    after = dedent(before).replace("asyncio.sleep(1)", 'mqtt_monitor.wait_for("#", count=2)')
    assert fixed(repo, before) == after


def test_what_the_plain_test_has_seen_before_is_not_waited_for(repo):
    text = dedent(
        """\
        import asyncio


        def test_it(mqtt_monitor):
            assert mqtt_monitor.messages

            async def main():
                await asyncio.sleep(1)
                assert mqtt_monitor.messages

            asyncio.run(main())
        """
    )
    assert fixed(repo, text) == text


def test_the_import_goes_with_the_sleep(repo):
    text = """\
        import asyncio


        async def test_it(mqtt_monitor):
            await asyncio.sleep(1)
            assert mqtt_monitor.messages
        """
    assert fixed(repo, text).startswith("async def test_it(mqtt_monitor):\n    await mqtt_monitor.")


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ("await asyncio.sleep(1)\nassert camera_detector.cameras", "camera_detector"),
        ("import time\ntime.sleep(1)\nassert mqtt_monitor.messages", "mqtt_monitor"),
        ("import anyio\nawait anyio.sleep(1)\nassert mqtt_monitor.messages", "mqtt_monitor"),
        ("import trio\nawait trio.sleep(1)\nassert mqtt_monitor.messages", "mqtt_monitor"),
        ("await asyncio.sleep(1)\nassert not mqtt_monitor.messages", "mqtt_monitor"),
        (
            "await asyncio.gather(work(), asyncio.sleep(1))\nassert mqtt_monitor.messages",
            "mqtt_monitor",
        ),
        (
            "await mqtt_client.publish('lamp/set', '7')\nawait asyncio.sleep(1)\n"
            "assert mqtt_monitor.messages\nassert mqtt_service.level == 7",
            "mqtt_monitor, mqtt_client, mqtt_service",
        ),
    ],
)
def test_the_doubtful_stays_and_is_found(repo, body, params):
    assert fixed_body(repo, body, params) == body
    assert {finding.kind for finding in repo.scan()} == {"wait-for-background"}


def test_a_broker_in_an_async_fixture_becomes_one_call(repo):
    repo.write("tests/mqtt_test_broker.py", "_register()\n")
    text = """\
        import asyncio
        import subprocess

        import pytest_asyncio


        @pytest_asyncio.fixture
        async def broker():
            process = subprocess.Popen(["mosquitto", "-p", "18840"])
            await asyncio.sleep(1)
            yield process
            process.terminate()
        """
    assert "    process = TestMQTTBroker(port=18840).start()\n    yield process" in fixed(
        repo, text
    )
