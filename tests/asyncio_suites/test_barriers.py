"""Barriers through clients that an event loop serves."""

import asyncio
import contextlib
import threading

import pytest
from helpers.asyncio_ways import each_way
from helpers.drop_in import assert_green_and_silent
from shared_mqtt_pool import MQTTConnectionError

aiomqtt = pytest.importorskip("aiomqtt")


@pytest.mark.usefixtures("few_plugins")
@each_way
def test_nothing_is_told_to_a_loop_that_it_cannot_do(pytester, way):
    result = way.run(
        pytester,
        """
        import aiomqtt

        @pytest.mark.parametrize("number", range(50))
        async def test_absence(session_mqtt_broker, mqtt_monitor, number):
            host, port = session_mqtt_broker.host, session_mqtt_broker.port
            async with aiomqtt.Client(host, port) as client:
                await client.publish("other", b"x", qos=number % 3)
                mqtt_monitor.assert_none("device/#")
                await asyncio.sleep(0)
                assert [m.topic for m in mqtt_monitor.messages] == ["other"]
        """,
    )
    assert_green_and_silent(result, passed=50)


@pytest.mark.usefixtures("few_plugins")
@each_way
def test_a_client_that_is_left_open_is_ended_without_harm_to_its_loop(pytester, way):
    result = way.run(
        pytester,
        """
        import aiomqtt

        @pytest.mark.parametrize("number", range(10))
        async def test_it(prompt_mqtt_clients, session_mqtt_broker, mqtt_monitor, number):
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: told.append(context))
            assert told == []
            client = aiomqtt.Client(session_mqtt_broker.host, session_mqtt_broker.port)
            await client.__aenter__()
            if number % 2:
                await client.publish("other", b"x")
            else:
                client._client.publish("other", b"x")  # the loop has not yet added its writer

        told = []

        def test_all_of_them(shared_mqtt_pool):
            assert told == []
        """,
    )
    result.assert_outcomes(passed=11)
    result.stdout.fnmatch_lines(["*left running (stopped)*"])


class Loop:
    """An event loop in debug mode with a client of aiomqtt, which notes what goes wrong."""

    def __init__(self, broker):
        self.told = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(True)
        self.loop.set_exception_handler(lambda _loop, context: self.told.append(context))
        self.broker = broker

    async def publish(self, topic, count):
        self.client = aiomqtt.Client(self.broker.host, self.broker.port)
        await self.client.__aenter__()
        for _ in range(count):
            self.client._client.publish(topic, b"x" * 1000)

    async def leave(self):
        await asyncio.sleep(0)
        await self.client.__aexit__(None, None, None)

    @contextlib.contextmanager
    def in_thread(self):
        thread = threading.Thread(target=self.loop.run_forever)
        thread.start()
        try:
            yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(5)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join(5)


@pytest.fixture
def loop(session_mqtt_broker, prompt_mqtt_clients):
    made = Loop(session_mqtt_broker)
    yield made
    made.loop.close()
    assert made.told == []


def seen(monitor, count):
    with pytest.raises(pytest.fail.Exception, match="Nothing was to be published"):
        monitor.assert_none("sent")
    return len(monitor.messages) == count


@pytest.mark.parametrize("count", [1, 2000])
class TestBarrierThrough:
    def test_a_loop_that_stands_still(self, loop, mqtt_monitor, count):
        loop.loop.run_until_complete(loop.publish("sent", count))
        assert seen(mqtt_monitor, count)
        loop.loop.run_until_complete(loop.leave())

    def test_a_loop_that_runs_in_another_thread(self, loop, mqtt_monitor, count):
        with loop.in_thread() as run:
            run(loop.publish("sent", count))
            assert seen(mqtt_monitor, count)
            run(loop.leave())

    def test_a_loop_that_runs_in_this_thread(self, loop, mqtt_monitor, count):
        async def test():
            await loop.publish("sent", count)
            assert seen(mqtt_monitor, count)
            await loop.leave()

        loop.loop.run_until_complete(test())

    def test_a_loop_that_is_closed(self, loop, mqtt_monitor, count):
        loop.loop.run_until_complete(loop.publish("sent", count))
        loop.loop.run_until_complete(asyncio.sleep(0))
        [task] = asyncio.all_tasks(loop.loop)  # of aiomqtt
        task.cancel()
        loop.loop.run_until_complete(asyncio.wait([task]))
        loop.loop.close()
        assert seen(mqtt_monitor, count)


def test_a_loop_that_does_not_come_round_is_named(loop, mqtt_monitor, monkeypatch):
    monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 0.2)
    with loop.in_thread() as run:
        run(loop.publish("sent", 1))
        mqtt_monitor.wait_for("sent")
        run(asyncio.sleep(0))  # it is in no callback of the client any more
        over = threading.Event()
        loop.loop.call_soon_threadsafe(over.wait, 5)
        with pytest.raises(MQTTConnectionError, match=r"the event loop of .* stands still"):
            mqtt_monitor.assert_none("other")
        over.set()
        run(loop.leave())
