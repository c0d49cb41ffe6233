# BEFORE
import pytest
from concurrent_futures_fix import fix_concurrent_futures
from gatehouse import Gatehouse
from mqtt_test_broker import isolated_mqtt_broker, test_mqtt_broker
from optimized_service_fixture import override_fixture, service_fixture
from shared_mqtt_pool import mqtt_client, mqtt_monitor

# AFTER

fast_gatehouse = service_fixture(
    Gatehouse,
    tasks={"run_round_once": "_walk", "run_evening_once": "_close"},
    running="on_duty",
    cleanup="stop",
)
override_fixture("gatehouse", fast_gatehouse)
