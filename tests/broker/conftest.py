import pytest
from helpers.drop_in import few_plugins
from mqtt_test_broker import TestMQTTBroker


@pytest.fixture
def broker():
    with TestMQTTBroker() as broker:
        yield broker
