"""A thousand async tests leave as much as a hundred; a service at rest takes no processor time."""

import json
import shutil

import pytest
from helpers.asyncio_ways import TESTS, WAYS
from helpers.drop_in import assert_nothing_left

pytestmark = [pytest.mark.usefixtures("few_plugins"), pytest.mark.slow]
pytest.importorskip("aiomqtt")

COUNTING = """
import gc, json, os, threading
from dimmer import Dimmer
from optimized_service_fixture import service_fixture

dimmer = service_fixture(Dimmer, run="run", hold="_report_forever", cleanup="stop")

def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith("99]"):
        import asyncio
        gc.collect()
        kinds = {"loops": asyncio.AbstractEventLoop, "tasks": asyncio.Task}
        alive = gc.get_objects()
        counts = {k: sum(isinstance(o, cls) for o in alive) for k, cls in kinds.items()}
        counts["threads"] = threading.active_count()
        counts["descriptors"] = len(os.listdir("/dev/fd"))
        with open("counts", "a") as file:
            print(json.dumps(counts), file=file)
"""

SUITE = """
@pytest.mark.parametrize("number", range(1000))
async def test_it(dimmer, mqtt_client, mqtt_monitor, number):
    if number % 10 == 0:
        mqtt_client.publish("lamp/set", "1")
        await mqtt_monitor.wait_for("lamp/level")
"""

AT_REST = """
import time

async def test_at_rest(dimmer, mqtt_client, mqtt_monitor):
    await asyncio.sleep(0.2)
    mqtt_monitor.assert_none("lamp/level")
    began = time.process_time()
    await asyncio.sleep(2)
    assert time.process_time() - began < 0.1
"""


@pytest.fixture(autouse=True)
def service(pytester):
    shutil.copy(TESTS / "helpers" / "dimmer.py", pytester.path)
    pytester.syspathinsert()


@pytest.mark.parametrize("way", ["anyio", "strict-session"])
def test_a_thousand_leave_no_more_than_a_hundred(pytester, way):
    result = WAYS[way].run(pytester, SUITE, "-q", conftest=COUNTING, timeout=400)
    assert_nothing_left(result, passed=1000)
    counts = [json.loads(line) for line in (pytester.path / "counts").read_text().splitlines()]
    assert len(counts) == 10
    *during, _after_the_session = counts
    assert during == [during[0]] * 9


def test_a_service_at_rest_takes_no_processor_time(pytester):
    result = WAYS["strict-function"].run(pytester, AT_REST, conftest=COUNTING)
    assert_nothing_left(result, passed=1)
