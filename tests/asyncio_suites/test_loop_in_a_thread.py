"""A service that runs an event loop in a thread of its own: its tasks run there, by hand, too."""

import pytest
from helpers.asyncio_ways import WAYS

pytestmark = pytest.mark.usefixtures("few_plugins")
pytest.importorskip("aiomqtt")

CONFTEST = """
import asyncio, contextlib, os, threading
import aiomqtt
from optimized_service_fixture import service_fixture

class Shutter:
    def __init__(self):
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def start(self):
        self.thread.start()
        assert self.ready.wait(5)

    async def _main(self):
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        address = os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"])
        async with aiomqtt.Client(*address) as self.client:
            self.ready.set()
            await self.end.wait()

    async def _report(self):
        assert asyncio.get_running_loop() is self.loop
        await self.client.publish("shutter/report", "closed", qos=1)
        return "reported"

    async def _fail(self):
        raise ValueError("the shutter is stuck")

    async def _cancel(self):
        asyncio.current_task().cancel()
        await asyncio.sleep(60)

    async def _stop_loop(self):
        self.loop.stop()
        await asyncio.sleep(60)

    def stop(self):
        with contextlib.suppress(RuntimeError):  # it has closed
            self.loop.call_soon_threadsafe(self.end.set)

tasks = {name: f"_{name}" for name in ("report", "fail", "cancel", "stop_loop")}
shutter = service_fixture(Shutter, start="start", tasks=tasks)
"""

TESTS = """
import gc

THREAD_ENDS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
EACH = pytest.mark.parametrize("task", ["cancel", pytest.param("stop_loop", marks=THREAD_ENDS)])

def test_synchronous(shutter, mqtt_monitor):
    assert shutter.report() == "reported"
    mqtt_monitor.wait_for("shutter/report")
    with pytest.raises(ValueError, match="stuck"):
        shutter.fail()

@EACH
def test_ended(shutter, task):
    with pytest.raises(RuntimeError, match="has cancelled this task, or ended"):
        getattr(shutter, task)()

async def test_async(shutter, mqtt_monitor, caplog):
    assert await shutter.report() == "reported"
    await mqtt_monitor.wait_for("shutter/report")
    for _ in range(20):  # as the loop may be the quicker one
        with pytest.raises(ValueError, match="stuck"):
            await shutter.fail()
    gc.collect()
    assert "never retrieved" not in caplog.text

@EACH
async def test_ended_in_async_test(shutter, task):
    with pytest.raises(RuntimeError, match="has cancelled this task, or ended"):
        await getattr(shutter, task)()
"""


@pytest.mark.parametrize("way", [WAYS["anyio"], WAYS["auto-function"]], ids=["anyio", "auto"])
def test_a_task_runs_in_the_loop_of_the_service(pytester, way):
    way.run(pytester, TESTS, conftest=CONFTEST).assert_outcomes(passed=6)
