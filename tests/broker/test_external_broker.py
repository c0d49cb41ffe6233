"""Runs against brokers of others, by MQTT_TEST_BROKER_URL."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.clients import connected
from helpers.drop_in import ALL_MODULES, Repository
from helpers.processes import wait_until
from helpers.raw_clients import in_another_process, load
from mqtt_test_broker import TestMQTTBroker
from mqtt_testing.wire.endpoint import MQTTEndpoint
from shared_mqtt_pool import MQTTConnectionError, SharedMQTTPool

pytestmark = pytest.mark.usefixtures("few_plugins")

WIRING = """
    from camera_detector_optimized_fixture import camera_detector_fast
    from shared_mqtt_pool import mqtt_client, mqtt_client_factory, mqtt_monitor, mqtt_topic_factory
"""

SUITE = """
    import pytest
    from service import CameraDetector, new_client


    @pytest.fixture
    def camera_detector():
        raise AssertionError("the slow fixture was used")


    def test_a_client_and_the_monitor(mqtt_client, mqtt_monitor, mqtt_topic_factory):
        topic = mqtt_topic_factory("status")
        mqtt_client.publish(topic, "on", retain=True)
        [message] = mqtt_monitor.wait_for(topic)
        assert message.payload == b"on"
        mqtt_monitor.assert_none(mqtt_topic_factory("alarm"))


    @pytest.mark.parametrize("time", range(3))
    def test_nothing_is_left_by_another_test(
        mqtt_client_factory, mqtt_monitor, mqtt_topic_prefix, time
    ):
        mine = f"{mqtt_topic_prefix}/mine"
        publisher, subscriber = (mqtt_client_factory(client_id=name) for name in ("a", "b"))
        publisher.publish(f"{mine}/1", f"{time}", qos=1, retain=True)
        mqtt_monitor.wait_for(f"{mine}/1")
        received = []
        subscriber.message_callback_add(
            f"{mine}/1", lambda client, userdata, message: received.append(message.payload)
        )
        subscriber.subscribe(f"{mine}/#", 1)
        subscriber.publish(f"{mine}/end", qos=1)
        mqtt_monitor.wait_for(f"{mine}/end")
        mqtt_monitor.assert_none("nothing")
        assert received[0] == f"{time}".encode()


    def test_a_service(camera_detector, mqtt_monitor):
        camera_detector.test_run_discovery_once()
        assert camera_detector.cameras
        assert mqtt_monitor.wait_for("camera/discovery")
"""


class Broker(NamedTuple):
    """A broker of others, and how this process reaches it."""

    url: str
    endpoint: Any
    credentials: dict[str, Any]


@pytest.fixture
def mosquitto() -> Iterator[Broker]:
    with TestMQTTBroker() as broker:
        yield Broker(f"mqtt://127.0.0.1:{broker.port}", broker, {})


@pytest.fixture
def secured_mosquitto(tmp_path: Path) -> Iterator[Broker]:
    with TestMQTTBroker(tls=True, username="me", password="s3cr3t?/#") as broker:
        assert broker.ssl_context is not None
        authority = broker.ssl_context.get_ca_certs(binary_form=True)[0]
        (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(authority))
        address = f"me:s3cr3t%3F%2F%23@127.0.0.1:{broker.port}"
        url = f"mqtts://{address}?cafile={tmp_path / 'ca.pem'}"
        yield Broker(url, broker, broker.get_security_params())


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[Broker]:
    """Another implementation of a broker, which speaks MQTT 3.1.1 alone."""
    if not importlib.util.find_spec("amqtt"):
        pytest.skip("amqtt needs a newer Python")
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        port = reservation.getsockname()[1]
        settings = tmp_path / "amqtt.yaml"
        settings.write_text(
            f"listeners: {{default: {{type: tcp, bind: '127.0.0.1:{port}'}}}}\n"
            "plugins: {amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}}\n"
        )
        with running_amqtt(settings, tmp_path / "amqtt.log") as process:
            endpoint = MQTTEndpoint("127.0.0.1", port)
            came = wait_until(lambda: endpoint.answers() or process.poll() is not None)
            assert came, f"amqtt does not answer: {(tmp_path / 'amqtt.log').read_text()}"
            assert process.poll() is None, (tmp_path / "amqtt.log").read_text()
            yield Broker(f"mqtt://127.0.0.1:{port}", endpoint, {})


@contextlib.contextmanager
def running_amqtt(settings: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = "from amqtt.scripts.broker_script import main; main()"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "-c", str(settings)], stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["mosquitto", "secured_mosquitto"])
def broker(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def repository_on(
    broker: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Repository:
    monkeypatch.setenv("MQTT_TEST_BROKER_URL", broker.url)
    repository = Repository(pytester, ALL_MODULES)
    return repository.write("tests/conftest.py", WIRING)


def retained_on(broker: Broker) -> dict[str, bytes]:
    with connected(broker.endpoint, **broker.credentials) as client:
        return {message.topic: message.payload for message in client.received_on("#")}


def test_a_suite_passes_and_leaves_what_is_retained_as_it_was(
    broker: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(broker.endpoint, **broker.credentials) as client:
        client.publish("others/status", "on", qos=1, retain=True).wait_for_publish(10)
    repository = repository_on(broker, pytester, monkeypatch).write("tests/test_it.py", SUITE)
    result = repository.run()
    result.assert_outcomes(passed=5)
    assert retained_on(broker) == {"others/status": b"on"}


def test_a_suite_passes_on_two_workers(
    mosquitto: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = repository_on(mosquitto, pytester, monkeypatch).write("tests/test_it.py", SUITE)
    repository.run("-p", "xdist", "-n", "2").assert_outcomes(passed=5)


SERVICE_WITH_A_FIXED_CLIENT_ID = """
    import os, threading
    import paho.mqtt.client as mqtt

    class Service:
        def __init__(self):
            self.prefix = os.environ.get("MQTT_TOPIC_PREFIX", "no-prefix")
            self.connections = 0
            self._connected = threading.Event()
            options = {"clean_session": False, "client_id": "always-the-same"}
            if hasattr(mqtt, "CallbackAPIVersion"):
                options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
            self.client = mqtt.Client(**options)
            self.client.on_connect = self._on_connect
            self.client.connect("localhost")
            self.client.loop_start()
            assert self._connected.wait(10), "no CONNACK"

        def _on_connect(self, *_args):
            self.connections += 1
            self._connected.set()

        def say(self, word):
            self.client.publish(f"{self.prefix}/said", word, qos=1).wait_for_publish(10)
"""

TWO_WORKERS_AT_A_TIME = """
    import os, time
    from pathlib import Path
    import pytest

    def meet(name):
        \"\"\"Wait until both workers are here.\"\"\"
        Path(f"{name}-{os.environ['PYTEST_XDIST_WORKER']}").touch()
        deadline = time.monotonic() + 20
        while len(list(Path().glob(f"{name}-gw*"))) < 2:
            assert time.monotonic() < deadline, f"the other worker did not come to {name}"

    @pytest.mark.parametrize("worker", range(2))
    def test_two_at_a_time(fast_service, mqtt_monitor, worker):
        meet("built")
        fast_service.say(os.environ["PYTEST_XDIST_WORKER"])
        meet("said")
        [message] = mqtt_monitor.wait_for(f"{fast_service.prefix}/said")
        assert message.payload.decode() == os.environ["PYTEST_XDIST_WORKER"]
        assert fast_service.connections == 1, "another one took the session over"
"""


def test_workers_do_not_meet_by_client_id_or_topic(
    mosquitto: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = repository_on(mosquitto, pytester, monkeypatch)
    repository.write("same_id.py", SERVICE_WITH_A_FIXED_CLIENT_ID)
    repository.write(
        "tests/conftest.py",
        """
        from optimized_service_fixture import service_fixture
        from shared_mqtt_pool import mqtt_monitor
        from same_id import Service

        fast_service = service_fixture(Service)
        """,
    )
    repository.write("tests/test_it.py", TWO_WORKERS_AT_A_TIME)
    result = repository.run("-p", "xdist", "-n", "2", "--dist", "each", "-k", "0")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*topics that other test runs*")


def test_topics_without_the_prefix_are_told_at_the_end(
    mosquitto: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = repository_on(mosquitto, pytester, monkeypatch).write("tests/test_it.py", SUITE)
    result = repository.run("-k", "service")
    result.assert_outcomes(passed=1, deselected=4)
    result.stdout.fnmatch_lines(
        [
            "*topics that other test runs on this broker see*",
            "1 outside of 'mqtt-test/*', such as camera/discovery. Let the service take*",
        ]
    )


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that mosquitto can read in when it is no longer root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
def test_a_broker_with_access_control_says_what_it_has_to_allow(
    public_folder: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = public_folder / "rules"
    rules.write_text("topic readwrite mine/#\n")
    with TestMQTTBroker(config_lines=[f"acl_file {rules}"]) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        repository = repository_on(Broker(url, broker, {}), pytester, monkeypatch)
        repository.write("tests/test_it.py", "def test(mqtt_client): pass")
        result = repository.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this user has to be allowed to publish to and read from '#'*"])


def test_a_barrier_that_is_forbidden_is_given_up_though_other_messages_go_on_arriving(
    public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_testing.clients.limits.TIMEOUT", 0.5)
    monkeypatch.setattr("mqtt_testing.clients.limits.FLOOD_TIMEOUT", 1.2)
    rules = public_folder / "rules"
    rules.write_text("topic readwrite load\n")
    with TestMQTTBroker(config_lines=[f"acl_file {rules}"]) as broker:
        pool = SharedMQTTPool(broker.get_connection_params())
        given_up = pytest.raises(MQTTConnectionError, match="did not come back within 1 s")
        with in_another_process(load, broker.port), pool, given_up:
            pool.barrier()


def test_a_broker_without_mqtt_5_is_one_clear_error(
    amqtt: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = repository_on(amqtt, pytester, monkeypatch)
    repository.write("tests/test_it.py", "def test_it(mqtt_client): pass")
    result = repository.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*MQTT connection failed: the broker of MQTT_TEST_BROKER_URL*"])
    assert "MQTT 5" in result.stdout.str()


class TestURL:
    def test_a_report_of_one_that_cannot_be_parsed_does_not_show_it(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker = Broker("mqtt://me:s3cr3t@[::1", None, {})
        repository = repository_on(broker, pytester, monkeypatch)
        repository.write("tests/test_it.py", "def test(test_mqtt_broker): pass")
        result = repository.run("--showlocals")
        result.assert_outcomes(errors=1)
        assert "s3cr3t" not in result.stdout.str() + result.stderr.str()

    def test_credentials_are_never_shown(
        self, secured_mosquitto: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository = repository_on(secured_mosquitto, pytester, monkeypatch)
        repository.write(
            "tests/test_it.py",
            """
            def test_it(mqtt_client, session_mqtt_broker, shared_mqtt_pool):
                kept = shared_mqtt_pool.endpoint
                assert not session_mqtt_broker
            """,
        )
        result = repository.run("-vv", "--showlocals", "-o", "log_level=DEBUG")
        result.assert_outcomes(failed=1)
        assert "s3cr3t" not in result.stdout.str() + result.stderr.str()

    def test_without_the_certificate_authority_the_broker_is_not_trusted(
        self, secured_mosquitto: Broker, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = secured_mosquitto.url.partition("?")[0]
        repository = repository_on(secured_mosquitto._replace(url=url), pytester, monkeypatch)
        repository.write("tests/test_it.py", "def test(mqtt_client): pass")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["MQTT connection failed: *"])
        assert "s3cr3t" not in result.stdout.str()
