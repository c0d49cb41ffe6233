# SPDX-License-Identifier: MIT
"""MQTT clients on loan, a monitor of all that is published, a clean broker a test.

Needs pytest, paho-mqtt, mosquitto, and the folder ``mqtt_testing`` beside this file. In
``tests/conftest.py``::

    from shared_mqtt_pool import mqtt_client, mqtt_monitor  # noqa: F401

and in a test::

    def test_status(mqtt_client, mqtt_monitor):
        mqtt_client.publish("device/status", "on", retain=True)
        [message] = mqtt_monitor.wait_for("device/status")
        assert message.payload == b"on" and message.retain

One connection is shared by the whole session: it watches everything that is published,
knows the retained messages, and provides the barriers that replace every ``sleep``. A
client on loan is a real paho client on a connection of its own. The pool connects it to
the test broker, whatever address it is given, and when the loan ends, it undoes what the
client did: callbacks, subscriptions, session, will.

Suites that make their clients in ``unittest`` classes, helpers or modules have this in
``tests/conftest.py``, which acts on every client of the process::

    from shared_mqtt_pool import redirect_to_test_broker

    redirect_to_test_broker()  # port 1883 of this machine leads to the session's broker

An autouse fixture that asks for ``prompt_mqtt_clients`` ends those that tests leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or not __package__:
    from mqtt_testing.clients import plugin as _kit  # copy the folder, too
    from mqtt_testing.registration import register as _register
else:
    from .mqtt_testing.clients import plugin as _kit  # copy the folder, too
    from .mqtt_testing.registration import register as _register

SharedMQTTPool = _kit.SharedMQTTPool
MQTTMonitor = _kit.MQTTMonitor
MQTTConnectionError = _kit.MQTTConnectionError
shared_mqtt_pool = _kit.shared_mqtt_pool
clean_mqtt_broker = _kit.clean_mqtt_broker
mqtt_client = _kit.mqtt_client
mqtt_client_factory = _kit.mqtt_client_factory
mqtt_monitor = _kit.mqtt_monitor
mqtt_topic_prefix = _kit.mqtt_topic_prefix
mqtt_topic_factory = _kit.mqtt_topic_factory
prompt_mqtt_clients = _kit.prompt_mqtt_clients
redirect_to_test_broker = _kit.redirect_to_test_broker
redirected_mqtt_clients = _kit.redirected_mqtt_clients
redirected_mqtt_ports = _kit.redirected_mqtt_ports
redirected_mqtt_hosts = _kit.redirected_mqtt_hosts
redirected_mqtt_brokers = _kit.redirected_mqtt_brokers
settle_mqtt_clients = _kit.settle_mqtt_clients
LOOPBACK_HOSTS = _kit.LOOPBACK_HOSTS

_register("broker", "clients")
