import pytest
from helpers.drop_in import few_plugins
from shared_mqtt_pool import SharedMQTTPool


@pytest.fixture
def pool(session_mqtt_broker):
    with SharedMQTTPool(session_mqtt_broker.get_connection_params()) as pool:
        yield pool
