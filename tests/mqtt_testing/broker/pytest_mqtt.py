"""The fixture `mosquitto` of pytest-mqtt, without Docker.

It is in no plugin of ours: other plugins and suites have a fixture of this name. So it replaces
theirs where a conftest.py imports it, and nowhere else.
"""

from __future__ import annotations

import sys

import pytest

from .external import SessionBroker


@pytest.fixture(scope="session")
def mosquitto(
    request: pytest.FixtureRequest, session_mqtt_broker: SessionBroker
) -> tuple[str, int]:
    """The host and port of the session's broker, for pytest-mqtt's `capmqtt` as well."""
    broker = session_mqtt_broker
    if "pytest_mqtt.mosquitto" in sys.modules:
        # One object a session. `capmqtt` reads it for each test, after all fixtures of the session.
        settings = request.getfixturevalue("mqtt_settings")
        settings.host, settings.port = broker.host, broker.port
        if broker.username is not None:
            settings.username, settings.password = broker.username, broker.password
    return broker.host, broker.port
