"""The examples of docs/asyncio.md, and README's async one, run as they are printed."""

import re
import shutil

import pytest
from helpers.asyncio_ways import TESTS, WAYS
from helpers.drop_in import assert_nothing_left

pytestmark = pytest.mark.usefixtures("few_plugins")
pytest.importorskip("aiomqtt")

FENCED = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

AROUND_THE_CHARGER = """
@pytest.fixture
def meter():
    from charging.garage import FakeMeter
    return FakeMeter()
"""

SLOW_CHARGER = """
@pytest.fixture
async def charger():
    raise AssertionError("the slow fixture was used")
"""


def examples(page):
    return FENCED.findall((TESTS.parent / page).read_text())


@pytest.mark.parametrize("way", ["anyio", "strict-module", "auto-function"])
def test_the_page(pytester, way):
    shutil.copy(TESTS / "helpers" / "dimmer.py", pytester.path)
    monitor, conftest, service, *_ = examples("docs/asyncio.md")
    result = WAYS[way].run(pytester, monitor + service, conftest=conftest)
    assert_nothing_left(result, passed=3)


def test_the_page_without_a_plugin(pytester):
    shutil.copy(TESTS / "helpers" / "dimmer.py", pytester.path)
    _, conftest, _, _, plain, *_ = examples("docs/asyncio.md")
    repository = WAYS["anyio"].prepare(pytester, conftest)
    repository.write("tests/test_it.py", plain)  # which has no mark
    assert_nothing_left(repository.run(), passed=3)


SHOP = """
import contextlib, os, types, aiomqtt

def client():
    return aiomqtt.Client(os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"]))

async def serve(topic):
    async with client() as mqtt:
        await mqtt.subscribe(topic)
        async for message in mqtt.messages:
            await mqtt.publish("shop/served", message.payload)

@contextlib.asynccontextmanager
async def lifespan(app):
    async with client() as app.mqtt:
        yield
        await app.mqtt.publish("shop/open", "no")

def create_app():
    return types.SimpleNamespace()
"""

TESTS_OF_SHOP = """
@pytest.fixture
def app():
    raise AssertionError("the slow fixture was used")

async def test_serving(serving, mqtt_client, mqtt_monitor):
    mqtt_client.publish("shop/orders", "tea")
    await mqtt_monitor.wait_for("shop/served")

async def test_app(app, mqtt_monitor):
    await app.mqtt.publish("shop/open", "yes")
    await mqtt_monitor.wait_for("shop/open")
"""


@pytest.mark.parametrize("way", ["anyio", "strict-module", "auto-function"])
def test_the_page_without_a_class(pytester, way):
    pytester.makepyfile(shop=SHOP)
    *_, small_classes, _, _, _ = examples("docs/asyncio.md")
    result = WAYS[way].run(pytester, TESTS_OF_SHOP, conftest=small_classes)
    assert_nothing_left(result, passed=2)


def test_the_page_with_hard_coded_addresses(pytester):
    *_, conftest, led = examples("docs/asyncio.md")
    result = WAYS["anyio"].run(pytester, led, conftest=conftest)
    assert_nothing_left(result, passed=1)


def test_readme(pytester):
    shutil.copytree(TESTS / "helpers" / "charging", pytester.path / "charging")
    [conftest] = [text for text in examples("README.md") if "fast_charger" in text]
    [test] = [text for text in examples("README.md") if "async def" in text]
    conftest += AROUND_THE_CHARGER
    result = WAYS["anyio"].run(pytester, SLOW_CHARGER + test, conftest=conftest)
    assert_nothing_left(result, passed=1)


def test_the_lines_of_readme_are_those_of_this_repository():
    [lines] = [text for text in examples("README.md") if "fast_charger" in text]
    assert lines.partition("\n\n")[2] in (TESTS / "charging" / "conftest.py").read_text()
