# SPDX-License-Identifier: MIT
"""A fast fixture for any service that talks MQTT, in place of a slow one.

Needs pytest, paho-mqtt, mosquitto, and, beside this file, the folder ``mqtt_testing``
and ``concurrent_futures_fix.py``. In ``tests/conftest.py``::

    from optimized_service_fixture import override_fixture, service_fixture
    from thermostat.service import Thermostat

    fast_thermostat = service_fixture(
        Thermostat, tasks={"run_poll_once": "_poll_sensors"}, cleanup="shutdown"
    )
    override_fixture("thermostat", fast_thermostat)

The service is built for real, by its own constructor, and speaks over real connections
to the session's broker. Its background threads and timers do not start; a test runs a
task when it wants it run (``thermostat.run_poll_once()``), or has them all started
(``thermostat.test_enable_background_tasks()``). After the test the service is cleaned
up, and what it leaves behind is ended: threads, timers, executors, processes, clients,
retained messages; but not after a test marked ``@pytest.mark.leaks_on_purpose``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or not __package__:
    from mqtt_testing.registration import register as _register
    from mqtt_testing.services import plugin as _kit  # copy the folder, too
else:
    from .mqtt_testing.registration import register as _register
    from .mqtt_testing.services import plugin as _kit  # copy the folder, too

service_fixture = _kit.service_fixture
override_fixture = _kit.override_fixture
ServiceFixtureError = _kit.ServiceFixtureError

_register("broker", "clients", "services", modules=[_kit.futures_fix])
