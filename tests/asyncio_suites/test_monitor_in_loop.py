"""mqtt_monitor where an event loop runs."""

import asyncio
import time

import pytest
from helpers.asyncio_ways import WAYS, each_way
from helpers.drop_in import assert_green_and_silent
from shared_mqtt_pool import MQTTMonitor

aiomqtt = pytest.importorskip("aiomqtt")


def in_loop(coroutine):
    return asyncio.run(coroutine, debug=True)


@pytest.mark.usefixtures("few_plugins")
@each_way
def test_it_serves_every_way_to_run_async_tests(pytester, way):
    result = way.run(
        pytester,
        """
        import aiomqtt

        async def echo(broker, started):
            async with aiomqtt.Client(broker.host, broker.port) as client:
                await client.subscribe("cmd", qos=1)
                started.set()
                async for message in client.messages:
                    await client.publish("state", message.payload, qos=1)
                    acknowledged.append(message.payload)

        acknowledged = []

        @pytest.mark.parametrize("number", range(5))
        async def test_echo(session_mqtt_broker, mqtt_client, mqtt_monitor, number):
            started = asyncio.Event()
            service = asyncio.create_task(echo(session_mqtt_broker, started))
            await started.wait()
            mqtt_client.publish("cmd", b"%d" % number)
            [message] = await mqtt_monitor.wait_for("state")
            assert (message.payload, acknowledged[-1]) == (b"%d" % number, b"%d" % number)
            mqtt_monitor.assert_none("alarm")
            mqtt_monitor.clear()
            assert mqtt_monitor.messages == []
            service.cancel()
            await asyncio.wait([service])

        async def test_time_out(mqtt_monitor):
            with pytest.raises(AssertionError, match="Waited for 1 message"):
                await mqtt_monitor.wait_for("never", timeout=0.01)

        async def test_in_a_thread(mqtt_client, mqtt_monitor):
            mqtt_client.publish("t")
            loop = asyncio.get_running_loop()
            assert len(await loop.run_in_executor(None, mqtt_monitor.wait_for, "t")) == 1

        def test_synchronous(mqtt_client, mqtt_monitor):
            mqtt_client.publish("t")
            assert mqtt_monitor.wait_for("t")[0].topic == "t"
        """,
    )
    assert_green_and_silent(result, passed=8)


@pytest.mark.usefixtures("few_plugins")
def test_it_serves_unittest(pytester):
    result = WAYS["anyio"].run(
        pytester,
        """
        import unittest

        class TestIt(unittest.IsolatedAsyncioTestCase):
            @pytest.fixture(autouse=True)
            def fixtures(self, mqtt_client, mqtt_monitor):
                self.client, self.monitor = mqtt_client, mqtt_monitor

            async def test_it(self):
                self.client.publish("t")
                self.assertEqual(len(await self.monitor.wait_for("t")), 1)
                with self.assertRaises(AssertionError):
                    await self.monitor.wait_for("never", timeout=0)
                self.monitor.assert_none("never")
        """,
    )
    assert_green_and_silent(result, passed=1)


MISUSES = {
    "iterated": list,
    "unpacked": lambda wait: [*wait],
    "indexed": lambda wait: wait[0],
    "measured": len,
    "a condition": bool,
    "compared": lambda wait: wait == [],
    "searched": lambda wait: "x" in wait,
    "an attribute": lambda wait: wait.payload,
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_the_missing_await_is_named_at_once(mqtt_monitor, misuse):
    async def test():
        misuse(mqtt_monitor.wait_for("t"))

    with pytest.raises((AssertionError, AttributeError), match=r"Write `await mqtt_monitor\.wait"):
        in_loop(test())


def test_a_wait_that_is_not_awaited_is_named_by_its_line(shared_mqtt_pool):
    monitor = MQTTMonitor(shared_mqtt_pool)

    async def test():
        monitor.wait_for("t")

    in_loop(test())
    with pytest.raises(pytest.fail.Exception, match=r"not awaited, at .*test_monitor_in_loop\.py:"):
        monitor.check_awaited()


@pytest.mark.usefixtures("few_plugins")
def test_the_test_with_a_wait_that_is_not_awaited_does_not_pass(pytester):
    tests = "async def test_it(mqtt_monitor):\n    mqtt_monitor.wait_for('t')\n"
    result = WAYS["anyio"].run(pytester, tests)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_it.py:4. Write `await mqtt_monitor.wait_for('t', ...)`*"])
    result.stdout.no_fnmatch_line("*mqtt_testing/clients/*")  # no source of ours


CONSUMERS = {
    "await": lambda wait: wait,
    "task": lambda wait: asyncio.create_task(wait),
    "wait_for": lambda wait: asyncio.wait_for(wait, 5),
    "shield": lambda wait: asyncio.shield(wait),
}


@pytest.mark.parametrize("consume", CONSUMERS.values(), ids=CONSUMERS)
def test_it_is_a_coroutine_to_asyncio(mqtt_client, mqtt_monitor, consume):
    async def test():
        waiting = consume(mqtt_monitor.wait_for("t", count=2))
        for _ in range(2):
            mqtt_client.publish("t")
        assert repr(waiting)  # which asks it for what a coroutine has
        return await waiting

    assert [m.topic for m in in_loop(test())] == ["t", "t"]


def test_several_can_be_gathered(mqtt_client, mqtt_monitor):
    async def test():
        mqtt_client.publish("a")
        mqtt_client.publish("b")
        return await asyncio.gather(*(mqtt_monitor.wait_for(topic) for topic in "ab"))

    assert [m.topic for [m] in in_loop(test())] == ["a", "b"]


def test_a_cancelled_wait_ends_at_once_and_leaves_nothing(mqtt_monitor, shared_mqtt_pool):
    async def test():
        task = asyncio.create_task(mqtt_monitor.wait_for("t"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task}, timeout=1)
        assert task.cancelled()

    in_loop(test())
    assert shared_mqtt_pool.history._listeners == []


def test_no_time_passes_in_a_wait_that_is_over(mqtt_client, mqtt_monitor):
    async def test():
        begin = time.process_time()
        with pytest.raises(AssertionError):
            await mqtt_monitor.wait_for("t", timeout=0.5)
        return time.process_time() - begin

    assert in_loop(test()) < 0.1  # no polling


def test_it_tells_what_came_though_the_broker_is_stopped(
    test_mqtt_broker, mqtt_client, mqtt_monitor
):
    mqtt_client.publish("before", qos=1)
    mqtt_monitor.wait_for("before")
    test_mqtt_broker.stop()

    async def test():
        return await mqtt_monitor.wait_for("before")

    assert len(in_loop(test())) == 1


def test_messages_that_come_in_a_flood_are_all_found(mqtt_client, mqtt_monitor):
    async def test():
        for number in range(2000):
            mqtt_client.publish("t", str(number))
        return await mqtt_monitor.wait_for("t", count=2000)

    assert [int(m.payload) for m in in_loop(test())] == list(range(2000))
