"""A suite's own broker beside the monitor, which watches another: it is said which two."""

import pytest
from helpers.drop_in import Repository

pytestmark = pytest.mark.usefixtures("few_plugins")

CLIENT = """
    import paho.mqtt.client as mqtt

    def connected(port, on_connect=None):
        version = getattr(mqtt, "CallbackAPIVersion", None)
        client = mqtt.Client(*([version.VERSION2] if version else []))
        client.on_connect = on_connect
        client.connect("localhost", port)
        client.loop_start()
        while not client.is_connected(): pass
        return client

    def end(client):
        client.disconnect()
        client.loop_stop()
"""

OWN = """
    import pytest
    from client import connected, end
    from mqtt_test_broker import TestMQTTBroker
    from shared_mqtt_pool import mqtt_client

    @pytest.fixture{scope}
    def {name}():
        with TestMQTTBroker() as broker:
            yield broker.port

    @pytest.fixture
    def service({name}):
        client = connected({name})
        yield client
        end(client)
"""


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    return repository.write("client.py", CLIENT)


@pytest.mark.parametrize("name", ["test_mqtt_broker", "mosquitto"])
@pytest.mark.parametrize("scope", ["", "(scope='session')"], ids=["function", "session"])
@pytest.mark.parametrize("first", ["service, mqtt_monitor", "mqtt_monitor, service"])
def test_both_are_named(repository, name, scope, first):
    repository.write("tests/conftest.py", OWN.format(name=name, scope=scope))
    repository.write(
        "tests/test_it.py",
        f"""
    def test_it({first}):
        service.publish("state", "on")
        if mqtt_monitor.messages:  # vacuous
            assert 0
        """,
    )
    result = repository.run("-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["* tests with two brokers *", "*::test_it: mqtt_monitor watches 127.0.0.1:*127.0.0.1:*"]
    )


def test_both_are_named_though_a_client_is_still_in_its_on_connect(repository):
    busy = """
    import threading

    @pytest.fixture
    def busy(mosquitto):
        gate = threading.Event()
        client = connected(mosquitto, on_connect=lambda *_: gate.wait(10))
        yield client
        gate.set()
        end(client)
    """
    repository.write("tests/conftest.py", OWN.format(name="mosquitto", scope="") + busy)
    repository.write("tests/test_it.py", "def test_it(busy, mqtt_monitor): pass")
    result = repository.run("-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_it: mqtt_monitor watches 127.0.0.1:*127.0.0.1:*"])


@pytest.mark.parametrize(
    ("fixtures", "body"),
    [
        ("mqtt_monitor, isolated_mqtt_broker", "end(connected(isolated_mqtt_broker.port))"),
        ("mqtt_monitor, test_mqtt_broker", "end(connected(test_mqtt_broker.port))"),
        ("service", "pass"),
    ],
    ids=["one that is isolated", "one broker", "no monitor"],
)
def test_nothing_is_said_of(repository, fixtures, body):
    repository.write("tests/conftest.py", OWN.format(name="mosquitto", scope=""))
    repository.write(
        "tests/test_it.py",
        f"""
    from client import connected, end

    def test_it({fixtures}): {body}
        """,
    )
    result = repository.run("-W", "error")
    result.assert_outcomes(passed=1)
    assert "two brokers" not in result.stdout.str()
