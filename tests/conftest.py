"""The wiring, as a user would write it."""

from camera_detector_optimized_fixture import (
    camera_detector_class,
    camera_detector_fast,
    pytest_collectstart,
    pytest_sessionfinish,
    ultra_fast_detector,
)
from concurrent_futures_fix import fix_concurrent_futures
from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
from shared_mqtt_pool import (
    mqtt_client,
    mqtt_client_factory,
    mqtt_monitor,
    mqtt_topic_factory,
    shared_mqtt_pool,
)
