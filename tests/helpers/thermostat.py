"""A service that is no camera detector, its slow fixture, and the wiring of the fast one."""

THERMOSTAT = """
    import os, threading, time
    from paho.mqtt.client import Client

    try:
        from paho.mqtt.client import CallbackAPIVersion
        ARGUMENTS = [CallbackAPIVersion.VERSION2]
    except ImportError:
        ARGUMENTS = []

    class Thermostat:
        def __init__(self, room):
            self.room = room
            self.temperature = None
            self.ended = 0
            self.active = threading.Event()
            self.active.set()
            self.client = Client(*ARGUMENTS, client_id="thermostat")
            self.client.on_message = self._heard
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.subscribe("sensor/#")
            self.client.loop_start()
            self.poller = threading.Thread(target=self._poll_for_ever, name="poller")
            self.poller.start()

        def _heard(self, client, userdata, message):
            self.temperature = float(message.payload)

        def _poll_for_ever(self):
            while self.active.is_set():
                self._poll()
                time.sleep(60)

        def _poll(self):
            if not self.active.is_set():
                return None
            self.client.publish("thermostat/state", "polled", retain=True)
            return "polled"

        async def refresh(self):
            return "refreshed"

        def shut_down(self):
            self.ended += 1
            self.active.clear()
            time.sleep(30)
            self.poller.join()
            self.client.loop_stop()
            self.client.disconnect()
"""

WIRING = """
    import pytest
    from optimized_service_fixture import override_fixture, service_fixture
    from shared_mqtt_pool import mqtt_client, mqtt_monitor
    from thermostat import Thermostat

    @pytest.fixture
    def room(): return "kitchen"

    fast_thermostat = service_fixture(
        Thermostat,
        tasks={"run_poll_once": "_poll", "refresh_once": "refresh"},
        running="active",
        cleanup="shut_down",
    )
    override_fixture("thermostat", fast_thermostat)
"""

SLOW = """
    import pytest, threading, time

    @pytest.fixture
    def thermostat():
        raise AssertionError("the slow fixture was used")
"""
