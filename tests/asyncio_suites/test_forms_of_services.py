"""The forms in which asyncio services come: used, left running, followed by a synchronous test."""

import pytest
from helpers.asyncio_ways import WAYS

pytestmark = pytest.mark.usefixtures("few_plugins")

HEAD = """
import asyncio, os, threading

HOST = lambda: os.environ["MQTT_HOST"]
PORT = lambda: int(os.environ["MQTT_PORT"])
"""

AIOMQTT = """
import aiomqtt
class Service:
    async def run(self):
        async with aiomqtt.Client(HOST(), PORT()) as client:
            await client.subscribe("cmd")
            async for message in client.messages:
                await client.publish("state", message.payload, qos=1)
"""

AIOMQTT_TASKS = """
import aiomqtt
class Service:
    async def start(self):
        self.client = aiomqtt.Client(HOST(), PORT())
        await self.client.__aenter__()
        await self.client.subscribe("cmd", qos=1)
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._tick())]

    async def _listen(self):
        async for message in self.client.messages:
            await self.client.publish("state", message.payload)

    async def _tick(self):
        while True:
            await asyncio.sleep(0.01)
            await self.client.publish("tick")

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.client.__aexit__(None, None, None)
"""

PAHO = """
import paho.mqtt.client as mqtt
class Service:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_socket_open = self._open
        self.client.on_socket_close = lambda c, u, s: self.loop.remove_reader(s)
        self.client.on_socket_register_write = self._register
        self.client.on_socket_unregister_write = lambda c, u, s: self.loop.remove_writer(s)
        self.client.on_connect = lambda c, *a: c.subscribe("cmd")
        self.client.on_message = lambda c, u, m: c.publish("state", m.payload, qos=1)

    def _open(self, client, userdata, sock):
        self.loop.add_reader(sock, client.loop_read)
        self.misc = self.loop.create_task(self._misc())

    def _register(self, client, userdata, sock):
        self.loop.add_writer(sock, client.loop_write)

    async def _misc(self):
        while self.client.loop_misc() == mqtt.MQTT_ERR_SUCCESS:
            await asyncio.sleep(1)

    async def start(self):
        self.client.connect(HOST(), PORT())

    async def stop(self):
        self.client.disconnect()
        self.misc.cancel()
"""

PAHO_THREAD = """
import paho.mqtt.client as mqtt
class Service:
    def __init__(self):
        self.loop, self.queue = asyncio.get_running_loop(), asyncio.Queue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda c, *a: c.subscribe("cmd")
        self.client.on_message = self._received

    def _received(self, client, userdata, message):
        self.loop.call_soon_threadsafe(self.queue.put_nowait, message.payload)

    async def run(self):
        self.client.connect(HOST(), PORT())
        self.client.loop_start()
        while True:
            self.client.publish("state", await self.queue.get())

    async def stop(self):
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)
"""

GMQTT = """
import gmqtt
class Service:
    async def start(self):
        self.client = gmqtt.Client("service")
        self.client.on_message = self._received
        ready = asyncio.Event()
        self.client.on_subscribe = lambda *a: ready.set()
        await self.client.connect(HOST(), PORT())
        self.client.subscribe("cmd")
        await ready.wait()

    def _received(self, client, topic, payload, qos, properties):
        client.publish("state", payload)
        return 0

    async def stop(self):
        await self.client.disconnect()
"""

AMQTT = """
from amqtt.client import MQTTClient
class Service:
    async def run(self):
        client = MQTTClient(config={"auto_reconnect": False})
        await client.connect(f"mqtt://{HOST()}:{PORT()}/")
        try:
            await client.subscribe([("cmd", 1)])
            while True:
                message = await client.deliver_message()
                await client.publish("state", bytes(message.data))
        finally:
            await client.disconnect()

    async def stop(self):
        pass
"""

FORMS = {
    "aiomqtt, one coroutine": (AIOMQTT, "run='run'"),
    "aiomqtt, tasks": (AIOMQTT_TASKS, "start='start', cleanup='stop'"),
    "aiomqtt, tasks, no cleanup": (AIOMQTT_TASKS, "start='start', cleanup=()"),
    "aiomqtt, held": (AIOMQTT_TASKS, "start='start', cleanup='stop', hold='_tick'"),
    "paho, in the loop": (PAHO, "start='start', cleanup='stop'"),
    "paho, in the loop, no cleanup": (PAHO, "start='start', cleanup=()"),
    "paho, in a thread": (PAHO_THREAD, "run='run', cleanup='stop'"),
    "gmqtt": (GMQTT, "start='start', cleanup='stop'"),
    "amqtt": (AMQTT, "run='run', cleanup='stop'"),
}

TESTS = """
@pytest.mark.parametrize("number", range(5))
async def test_used(fast, mqtt_client, mqtt_monitor, number):
    mqtt_client.publish("cmd", b"%d" % number, qos=1)
    [message] = await mqtt_monitor.wait_for("state")
    assert message.payload == b"%d" % number
    mqtt_monitor.assert_none("alarm")

@pytest.mark.parametrize("number", range(3))
async def test_left_running(mqtt_client, mqtt_monitor, prompt_mqtt_clients, monkeypatch, number,
                            session_mqtt_broker):
    monkeypatch.setenv("MQTT_HOST", session_mqtt_broker.host)
    monkeypatch.setenv("MQTT_PORT", str(session_mqtt_broker.port))
    service = Service()
    running = asyncio.create_task(service.run() if hasattr(service, "run") else service.start())
    for _ in range(100):
        mqtt_client.publish("cmd", b"left", qos=1)
        try:
            await mqtt_monitor.wait_for("state", timeout=0.05)
        except AssertionError:
            continue
        break
    else:
        pytest.fail("never")

def test_synchronous(mqtt_client, mqtt_monitor):
    mqtt_client.publish("cmd", "nobody", qos=1)
    mqtt_monitor.assert_none("state")
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["anyio", "auto-session"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_form(pytester, form, way):
    service, options = form
    for library in ("aiomqtt", "gmqtt", "amqtt"):  # gmqtt 0.8 brings a package `tests` of its own
        if f"import {library}" in service or f"from {library}" in service:
            pytest.importorskip(library)
    pytester.path.joinpath("serving.py").write_text(HEAD + service)
    result = WAYS[way].run(
        pytester,
        "import asyncio\nfrom serving import Service\n" + TESTS,
        "-p",
        "no:randomly",
        "-W",
        "ignore::DeprecationWarning",
        "-W",
        "ignore::ResourceWarning",  # of transports that clients of other libraries leave
        "-W",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        conftest=f"""
from optimized_service_fixture import service_fixture
from serving import Service
fast = service_fixture(Service, {options})
""",
    )
    result.assert_outcomes(passed=9)
