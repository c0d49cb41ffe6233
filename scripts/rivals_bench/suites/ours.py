"""Our files are copied, and their fixtures imported."""

import pytest
from concurrent_futures_fix import fix_concurrent_futures
from mqtt_test_broker import session_mqtt_broker
from optimized_service_fixture import service_fixture
from shared_mqtt_pool import mqtt_client, mqtt_monitor, prompt_mqtt_clients

from rivals_bench.suites.service import Service

service = service_fixture(Service, tasks={"run_round_once": "_round"}, cleanup="stop")


@pytest.fixture(scope="session", autouse=True)
def every_client(prompt_mqtt_clients: None) -> None:
    """End the clients that tests leave running, too."""
