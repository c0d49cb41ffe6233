"""What the commands use of the modules in tests/, which they find because this one is imported."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .paths import TESTS

sys.path.insert(0, str(TESTS))

from helpers.processes import memory_of, processes_with, wait_until
from helpers.raw_clients import crowd, in_another_process
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.broker.binary import find_mosquitto, mosquitto_version
from mqtt_testing.broker.child import POLL_INTERVAL
from mqtt_testing.broker.folder import FOLDER_PREFIX
from mqtt_testing.broker.process import START_TIMEOUT
from mqtt_testing.clients.paho_internals import new_client
from mqtt_testing.wire.endpoint import MQTTEndpoint
from shared_mqtt_pool import MQTTMonitor, SharedMQTTPool

__all__ = [
    "FOLDER_PREFIX",
    "POLL_INTERVAL",
    "START_TIMEOUT",
    "BrokerError",
    "MQTTEndpoint",
    "MQTTMonitor",
    "SharedMQTTPool",
    "TestMQTTBroker",
    "copy_modules",
    "crowd",
    "find_mosquitto",
    "in_another_process",
    "memory_of",
    "mosquitto_version",
    "new_client",
    "processes_with",
    "wait_until",
]

BROKERS_AND_CLIENTS = ("mqtt_test_broker.py", "shared_mqtt_pool.py")


def copy_modules(folder: Path) -> None:
    """Copy what a suite needs to have brokers and clients, as its user would."""
    for module in BROKERS_AND_CLIENTS:
        shutil.copy(TESTS / module, folder)
    kit = TESTS / "mqtt_testing"
    shutil.copytree(kit, folder / kit.name, ignore=shutil.ignore_patterns("__pycache__"))
