"""The examples of docs/asyncio.md, and README's async one, run as they are printed."""

import re
import shutil

import pytest
from helpers.asyncio_ways import TESTS, WAYS
from helpers.drop_in import assert_nothing_left

pytestmark = pytest.mark.usefixtures("few_plugins")
pytest.importorskip("aiomqtt")

FENCED = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

THERMOSTAT = """
import aiomqtt, os

class Thermostat:
    is_on = False

    async def run(self):
        async with aiomqtt.Client(os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"])) as client:
            await client.subscribe("device/set")
            async for message in client.messages:
                self.is_on = message.payload == b"on"
                await client.publish("device/status", message.payload)
"""


def examples(page):
    return FENCED.findall((TESTS.parent / page).read_text())


@pytest.mark.parametrize("way", ["anyio", "strict-module", "auto-function"])
def test_the_page(pytester, way):
    shutil.copy(TESTS / "helpers" / "dimmer.py", pytester.path)
    monitor, conftest, service, _ = examples("docs/asyncio.md")
    result = WAYS[way].run(pytester, monitor + service, conftest=conftest)
    assert_nothing_left(result, passed=3)


def test_the_page_without_a_plugin(pytester):
    shutil.copy(TESTS / "helpers" / "dimmer.py", pytester.path)
    _, conftest, _, plain = examples("docs/asyncio.md")
    result = WAYS["anyio"].run(pytester, plain, conftest=conftest)
    assert_nothing_left(result, passed=2)


def test_readme(pytester):
    (pytester.path / "thermostat.py").write_text(THERMOSTAT)
    [example] = [text for text in examples("README.md") if "async def" in text]
    conftest = """
from optimized_service_fixture import service_fixture
from thermostat import Thermostat

thermostat = service_fixture(Thermostat, run="run")
"""
    result = WAYS["anyio"].run(pytester, example, conftest=conftest)
    assert_nothing_left(result, passed=1)
