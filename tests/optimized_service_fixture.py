"""A fast fixture for any service that talks MQTT, and its override in place of a slow one.

Needs pytest, paho-mqtt and, beside it, ``mqtt_test_broker.py``, ``shared_mqtt_pool.py`` and
``concurrent_futures_fix.py``. In ``tests/conftest.py``::

    from optimized_service_fixture import override_fixture, service_fixture
    from thermostat.service import Thermostat

    fast_thermostat = service_fixture(
        Thermostat,
        tasks={"run_poll_once": "_poll_sensors"},
        cleanup="shutdown",
    )
    override_fixture("thermostat", fast_thermostat)

The service is built for real, by its own constructor, and speaks over real MQTT connections to
the session's broker. Its background threads and timers do not start; a test runs a task when it
wants it run (``thermostat.run_poll_once()``), or has them all started
(``thermostat.test_enable_background_tasks()``). After the test the service is cleaned up, and
what it leaves behind is ended: threads, timers, executors, processes, MQTT clients, retained
messages. A test that needs what it leaves running says ``@pytest.mark.leaks_on_purpose``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or not __package__:
    from mqtt_testing.registration import register as _register
    from mqtt_testing.services import (
        plugin as _kit,
    )  # a folder, to be copied beside this file
else:
    from .mqtt_testing.registration import register as _register
    from .mqtt_testing.services import (
        plugin as _kit,
    )  # a folder, to be copied beside this file

service_fixture = _kit.service_fixture
override_fixture = _kit.override_fixture
ServiceFixtureError = _kit.ServiceFixtureError

_register("broker", "clients", "services", modules=[_kit.futures_fix])
