"""The wiring for an asyncio service, as a user would write it."""

import pytest
from helpers.charging.charger import Charger
from helpers.charging.garage import FastGarage
from optimized_service_fixture import override_fixture, service_fixture

fast_charger = service_fixture(
    Charger,
    run="run",  # a coroutine that runs as a task
    hold="_poll_forever",  # does not begin until a test wants it
    tasks={"run_poll_once": "_poll"},  # run by hand
    cleanup="stop",
)
override_fixture("charger", fast_charger)


@pytest.fixture
def fast_garage(mqtt_client, mqtt_monitor):
    return FastGarage(mqtt_client, mqtt_monitor)


override_fixture("garage", fast_garage)
