"""The wiring, as a user would write it."""

from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
from shared_mqtt_pool import mqtt_client, mqtt_client_factory, mqtt_monitor, shared_mqtt_pool
