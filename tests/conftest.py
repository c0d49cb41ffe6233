"""The wiring, as a user would write it."""

from camera_detector_optimized_fixture import (
    camera_detector_class,
    camera_detector_fast,
    pytest_collectstart,
    pytest_sessionfinish,
    ultra_fast_detector,
)
from concurrent_futures_fix import fix_concurrent_futures
from helpers.irrigation.controller import IrrigationController
from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
from optimized_service_fixture import override_fixture, service_fixture
from shared_mqtt_pool import (
    mqtt_client,
    mqtt_client_factory,
    mqtt_monitor,
    mqtt_topic_factory,
    shared_mqtt_pool,
)

fast_irrigation = service_fixture(
    IrrigationController,
    requires=("forecast",),  # your fixtures, set up first
    tasks={"run_round_once": "_check_beds", "run_timer_once": "_time_is_up"},  # run by hand
    running="alive",  # the flag that the tasks look at
    cleanup="terminate",
)
override_fixture("irrigation", fast_irrigation)
