"""A monitor that sees more messages than it keeps."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mqtt_test_broker import TestMQTTBroker
from mqtt_testing.clients import limits
from shared_mqtt_pool import MQTTMonitor

SETTINGS = json.loads(Path("settings.json").read_text())
THOUSANDS = SETTINGS["thousands"]

sys.path.append(SETTINGS["tests"])

from helpers.processes import memory_of
from helpers.raw_clients import flood, in_another_process

PATIENCE = 600

limits.HISTORY_LENGTH = THOUSANDS * 100


def test_flood(mqtt_monitor: MQTTMonitor, test_mqtt_broker: TestMQTTBroker) -> None:
    figures: dict[str, float | None] = {"before": memory_of("self")}
    began = time.perf_counter()

    def receive(thousands: int) -> None:
        with in_another_process(flood, test_mqtt_broker.port, thousands):
            end = str(thousands).encode()
            mqtt_monitor.wait_for("flood/end", 1, PATIENCE, lambda message: message.payload == end)

    receive(THOUSANDS // 5)
    figures["filled"] = memory_of("self", "VmHWM")
    receive(THOUSANDS - THOUSANDS // 5)
    figures["seconds"] = time.perf_counter() - began
    figures["peak"] = memory_of("self", "VmHWM")
    figures["after"] = memory_of("self")
    figures["broker"] = memory_of(test_mqtt_broker.pid or "self", "VmHWM")
    figures["kept"] = len(mqtt_monitor.messages)
    figures["dropped"] = mqtt_monitor.dropped
    Path("figures.json").write_text(json.dumps(figures))
