"""The charger on a real broker, with the slow async fixtures that were written for it.

`fast_charger` and `fast_garage` take their place: see conftest.py. The tests are the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
import pytest_asyncio
from helpers.broker_by_hand import find_mosquitto, free_port
from helpers.charging.charger import Charger
from helpers.charging.garage import FakeMeter, Garage, begin_to_poll, poll

pytestmark = pytest.mark.asyncio

AVAILABLE = "charger/available"
STATE = "charger/state"
REFUSED = "charger/refused"
ALARM = "charger/alarm"


@pytest_asyncio.fixture
async def slow_mqtt_broker(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    """A broker for each test, started by hand, with the usual margins."""
    host, port = "127.0.0.1", free_port()
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} {host}\nallow_anonymous true\n")
    broker = await asyncio.create_subprocess_exec(
        find_mosquitto(),
        "-c",
        str(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await asyncio.sleep(2)  # 2.0 s: "give the broker time to start"
    yield host, port
    broker.terminate()
    await broker.wait()


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLL_SECONDS", "0.5")
    monkeypatch.setenv("RETRY_SECONDS", "0.2")


@pytest.fixture
def meter() -> FakeMeter:
    return FakeMeter()


@pytest_asyncio.fixture
async def charger(
    slow_mqtt_broker: tuple[str, int], meter: FakeMeter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Charger]:
    """The service as it runs at home, with its polling."""
    for name, value in zip(("MQTT_HOST", "MQTT_PORT"), slow_mqtt_broker):
        monkeypatch.setenv(name, str(value))
    service = Charger(meter)
    running = asyncio.create_task(service.run())
    await asyncio.sleep(1)  # 1.0 s: "until it has connected and subscribed"
    yield service
    await service.stop()
    await running
    await asyncio.sleep(0.5)  # 0.5 s: "let the sockets close"


@pytest_asyncio.fixture
async def garage(slow_mqtt_broker: tuple[str, int]) -> AsyncIterator[Garage]:
    async with aiomqtt.Client(*slow_mqtt_broker) as client:
        slow_garage = Garage(client)
        await client.subscribe("#", qos=1)
        listening = asyncio.create_task(slow_garage.listen())
        yield slow_garage
        listening.cancel()


async def retained(topic: str) -> str:
    """What a client hears there that comes late."""
    address = os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"])
    async with aiomqtt.Client(*address) as latecomer:
        await latecomer.subscribe(topic)
        message = await asyncio.wait_for(latecomer.messages.__anext__(), 5)
        assert message.retain
        return message.payload.decode()


# At the start and the end


async def test_it_says_that_it_is_there(garage, charger):
    assert await garage.hears(AVAILABLE) == "yes"
    assert await retained(AVAILABLE) == "yes"


async def test_it_waits_for_the_sun(garage, charger):
    assert await garage.hears_state() == {"mode": "sun", "limit": 16, "amperes": 0}
    assert (charger.mode, charger.amperes) == ("sun", 0)


async def test_it_says_goodbye(garage, charger):
    await charger.stop()
    await garage.hears(AVAILABLE, lambda text: text == "no")
    assert await garage.has_heard(AVAILABLE) == ["yes", "no"]


async def test_it_does_not_charge_when_it_has_gone(garage, charger, meter):
    meter.surplus_watts = 2300
    await poll(charger)
    await charger.stop()
    await garage.hears(AVAILABLE, lambda text: text == "no")
    assert (await garage.hears_state(mode="off"))["amperes"] == charger.amperes == 0


# Orders


@pytest.mark.parametrize("mode", ["off", "full"])
async def test_a_mode_can_be_ordered(garage, charger, mode):
    await garage.orders("mode", mode)
    await garage.hears_state(mode=mode)
    assert charger.mode == mode


async def test_a_limit_can_be_ordered(garage, charger):
    await garage.orders("limit", "32")
    await garage.hears_state(limit=32)
    assert charger.limit == 32


@pytest.mark.parametrize(
    ("what", "how"),
    [("mode", "moon"), ("limit", "33"), ("limit", "many")],
)
async def test_an_order_that_makes_no_sense_is_refused(garage, charger, what, how):
    await garage.orders(what, how)
    assert how in await garage.hears(REFUSED)
    assert (charger.mode, charger.limit) == ("sun", 16)
    assert len(await garage.has_heard(STATE)) == 1


async def test_after_a_refusal_it_obeys_again(garage, charger):
    await garage.orders("mode", "moon")
    await garage.orders("mode", "full")
    await garage.hears_state(mode="full")
    assert len(await garage.has_heard(REFUSED)) == 1


# Polls


async def test_it_charges_with_what_the_sun_leaves_over(garage, charger, meter):
    meter.surplus_watts = 2300
    await poll(charger)
    await garage.hears_state(amperes=10)
    assert charger.amperes == 10


@pytest.mark.parametrize(("watts", "amperes"), [(1379, 0), (1380, 6), (9200, 16)])
async def test_it_keeps_within_its_limits(garage, charger, meter, watts, amperes):
    meter.surplus_watts = watts
    await poll(charger)
    assert (await garage.hears_state(amperes=amperes))["amperes"] == charger.amperes


async def test_it_stops_when_the_sun_goes(garage, charger, meter):
    meter.surplus_watts = 2300
    await poll(charger)
    await garage.hears_state(amperes=10)
    meter.surplus_watts = 0
    await poll(charger)
    assert charger.amperes == 0
    assert '"amperes": 0' in (await garage.has_heard(STATE))[-1]


async def test_at_full_speed_it_needs_no_sun(garage, charger, meter):
    await poll(charger)
    await garage.orders("mode", "full")
    await garage.hears_state(mode="full", amperes=16)


async def test_without_a_car_it_does_not_charge(garage, charger, meter):
    meter.car_is_plugged_in = False
    await poll(charger)
    await garage.orders("mode", "full")
    assert (await garage.hears_state(mode="full"))["amperes"] == 0


async def test_what_has_not_changed_is_not_told_again(garage, charger, meter):
    meter.surplus_watts = 2300
    await poll(charger)
    await poll(charger)
    assert charger.polls >= 2
    assert len(await garage.has_heard(STATE)) == 2


async def test_latecomers_learn_of_the_state(garage, charger, meter):
    meter.surplus_watts = 2300
    await poll(charger)
    assert '"amperes": 10' in await retained(STATE)


async def test_without_a_meter_it_does_not_charge(garage, charger, meter):
    meter.surplus_watts = 2300
    await poll(charger)
    await garage.hears_state(amperes=10)
    meter.is_out_of_order = True
    await poll(charger)
    assert await garage.hears(ALARM) == "no meter: no answer"
    assert '"amperes": 0' in (await garage.has_heard(STATE))[-1]


async def test_it_polls_by_itself(garage, charger, meter):
    meter.surplus_watts = 2300
    begin_to_poll(charger)
    await garage.hears_state(amperes=10)
    meter.surplus_watts = 4600
    await garage.hears_state(amperes=16)


# A broker that is lost


def lose_the_broker(charger: Charger) -> None:
    charger._client._client.socket().shutdown(socket.SHUT_RDWR)


async def test_the_broker_says_that_it_is_lost(garage, charger):
    lose_the_broker(charger)
    await garage.hears(AVAILABLE, lambda text: text == "no")


async def test_it_comes_back(garage, charger):
    lose_the_broker(charger)
    await garage.hears(AVAILABLE, lambda text: text == "yes", count=2)
    await garage.hears(STATE, count=2)
    await garage.orders("mode", "full")
    await garage.hears_state(mode="full")
    assert await garage.has_heard(AVAILABLE) == ["yes", "no", "yes"]
