# SPDX-License-Identifier: MIT
"""A real mosquitto for a pytest session, ready in milliseconds.

Needs pytest, the mosquitto binary (on PATH, in a usual sbin folder, or named by the
environment variable ``MQTT_TEST_MOSQUITTO``), and the folder ``mqtt_testing`` beside
this file. In ``tests/conftest.py``::

    from mqtt_test_broker import session_mqtt_broker, test_mqtt_broker  # noqa: F401

and in a test::

    def test_status(test_mqtt_broker):
        client.connect(**test_mqtt_broker.get_connection_params())

Without pytest's fixtures, the class is a context manager::

    with TestMQTTBroker() as broker:
        client.connect(broker.host, broker.port)

The broker listens on the loopback interface only, on a port of its own, and dies with
the process that started it. What can happen to a broker can be done to it: ``kill``,
``stop``, ``restart``, ``pause``, ``disconnect_clients``; the next test finds it running
again. With ``MQTT_TEST_BROKER_URL`` in the environment (``mqtt://user:password@host``)
the fixtures use that running broker instead and start nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or not __package__:
    from mqtt_testing.broker import plugin as _kit  # copy the folder, too
    from mqtt_testing.broker import pytest_mqtt as _pytest_mqtt
    from mqtt_testing.registration import register as _register
else:
    from .mqtt_testing.broker import plugin as _kit  # copy the folder, too
    from .mqtt_testing.broker import pytest_mqtt as _pytest_mqtt
    from .mqtt_testing.registration import register as _register

TestMQTTBroker = _kit.TestMQTTBroker
BrokerError = _kit.BrokerError
session_mqtt_broker = _kit.session_mqtt_broker
live_mqtt_broker = _kit.live_mqtt_broker
test_mqtt_broker = _kit.test_mqtt_broker
isolated_mqtt_broker = _kit.isolated_mqtt_broker
mosquitto = _pytest_mqtt.mosquitto
MQTTTestBroker = TestMQTTBroker

_register("broker")
