"""What an address of a broker of others may be."""

from pathlib import Path

import pytest
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.broker.external import ExternalMQTTBroker

COMPLAINTS = {
    "is not of the form mqtt://.*special characters as in %2F": (
        "http://me:s3cret@host",
        "mqtt://",
        "s3cret",
        "mqtt://me:s3/cret@host",
        "mqtt://me:s3#cret@host",
        "mqtt://me:s3?cret@host",
        "mqtt://me:1?s3cret=@host",
        "mqtt://me:s3cret@[::1",
        "mqtt://host#s3cret",
        "mqtt://host/s3cret",
    ),
    "the port in MQTT_TEST_BROKER_URL is none": (
        "mqtt://me:s3cret@host:port",
        "mqtt://me:s3cret@host:0",
        "mqtt://me:s3cret@host:65536",
    ),
    "MQTT_TEST_BROKER_URL has a password without a user": ("mqtt://:s3cret@host",),
    "MQTT_TEST_BROKER_URL has the options password; it may have cafile, certfile": (
        "mqtt://host?password=s3cret",
    ),
    "MQTT_TEST_BROKER_URL has nothing behind cafile": ("mqtts://host?cafile=",),
    "MQTT_TEST_BROKER_URL has a keyfile without a certfile": ("mqtts://host?keyfile=/s3cret",),
    "MQTT_TEST_BROKER_URL has cafile, which is for TLS": ("mqtt://host?cafile=/s3cret",),
    "MQTT_TEST_BROKER_URL names in cafile, certfile or keyfile cannot be read": (
        "mqtts://host?cafile=/no/s3cret",
    ),
    "MQTT_TEST_BROKER_URL has the topic_prefix": (
        "mqtt://me:s3cret@host?topic_prefix=a/%23",
        "mqtt://me:s3cret@host?topic_prefix=a/+",
        "mqtt://me:s3cret@host?topic_prefix=$SYS",
    ),
}


class TestExternal:
    def test_a_url_is_taken_apart(self):
        broker = ExternalMQTTBroker("mqtt://me:p%40ss@localhost:1234")
        assert broker.get_connection_params() == {
            "host": "localhost",
            "port": 1234,
            "keepalive": 60,
        }
        params = broker.get_security_params()
        assert (params["username"], params["password"]) == ("me", "p@ss")

    @pytest.mark.parametrize(("url", "port"), [("mqtt://host", 1883), ("mqtts://host", 8883)])
    def test_ports_have_the_usual_defaults(self, url, port):
        assert ExternalMQTTBroker(url).port == port

    def test_spaces_around_a_url_and_a_plus_in_a_path_are_no_matter(self, tmp_path):
        broker = ExternalMQTTBroker(" mqtt://host:1/?topic_prefix=/a/b/\n")
        assert (broker.host, broker.port) == ("host", 1)
        assert broker.topic_prefix.startswith("/a/b/")
        assert "//" not in broker.topic_prefix
        with TestMQTTBroker(tls=True) as secured:
            authority = tmp_path / "c++"
            authority.write_text(Path(secured.get_tls_params()["ca_certs"]).read_text())
        assert ExternalMQTTBroker(f"mqtts://host?cafile={authority}").ssl_context

    @pytest.mark.parametrize(
        ("why", "url"), [(why, url) for why, urls in COMPLAINTS.items() for url in urls]
    )
    def test_another_url_is_refused_without_being_repeated(self, why, url):
        with pytest.raises(BrokerError, match=why) as error:
            ExternalMQTTBroker(url)
        assert "s3cret" not in str(error.value)

    @pytest.mark.parametrize(
        ("options", "url", "remedy"),
        [
            ({}, "mqtts://127.0.0.1:{port}", "does not answer a CONNECT .* mqtt:// or mqtts://,"),
            ({"tls": True}, "mqtt://127.0.0.1:{port}", "does not answer a CONNECT"),
            ({"tls": True}, "mqtts://127.0.0.1:{port}", "verify failed.* takes .\\?cafile=PATH"),
            (
                {"tls": True, "require_client_certificate": True},
                "mqtts://127.0.0.1:{port}?cafile={cafile}",
                "does not answer a CONNECT",
            ),
            ({"websockets": True}, "mqtt://127.0.0.1:{port}", "does not answer a CONNECT"),
            (
                {"username": "me", "password": "right"},
                "mqtt://me:s3cret@127.0.0.1:{port}",
                "refuses this user and password: check them",
            ),
            (
                {"username": "me", "password": "right"},
                "mqtt://127.0.0.1:{port}",
                "asks for a user and a password: write mqtt://user:password@host",
            ),
        ],
        ids=[
            "TLS to plain",
            "plain to TLS",
            "unknown authority",
            "no certificate",
            "websockets",
            "wrong password",
            "no password",
        ],
    )
    def test_one_that_cannot_be_used_says_why(self, options, url, remedy):
        with TestMQTTBroker(**options) as broker:
            cafile = broker.get_tls_params().get("ca_certs", "")
            external = ExternalMQTTBroker(url.format(port=broker.port, cafile=cafile))
            with pytest.raises(BrokerError, match=remedy) as error:
                external.start()
        assert f" at 127.0.0.1:{broker.port} " in str(error.value)
        assert "s3cret" not in str(error.value)

    def test_a_password_is_never_sent_unencrypted_to_find_out_why(self, broker):
        external = ExternalMQTTBroker(f"mqtts://me:s3cret@127.0.0.1:{broker.port}")
        with pytest.raises(BrokerError, match="does not answer a CONNECT"):
            external.start()
        assert "u'me'" not in broker.log  # mosquitto logs the user of what connects

    def test_it_is_not_ours_to_stop(self, broker):
        external = ExternalMQTTBroker(f"mqtt://127.0.0.1:{broker.port}")
        external.stop()
        assert broker.is_running()
        with pytest.raises(BrokerError, match="isolated_mqtt_broker"):
            external.kill()
