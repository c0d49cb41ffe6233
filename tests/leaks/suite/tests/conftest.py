import pytest
from concurrent_futures_fix import fix_concurrent_futures
from furnace import Furnace
from mqtt_test_broker import session_mqtt_broker
from optimized_service_fixture import service_fixture
from shared_mqtt_pool import redirected_mqtt_clients, shared_mqtt_pool

furnace = service_fixture(Furnace, cleanup_timeout=0.5)


@pytest.fixture(scope="session", autouse=True)
def broker(request):
    return request.getfixturevalue("redirected_mqtt_clients")
