# SPDX-License-Identifier: MIT
"""A fast ``camera_detector`` fixture, in place of the slow one; the tests stay as they are.

Needs pytest, paho-mqtt, and the folder ``mqtt_testing`` and ``concurrent_futures_fix.py``
beside it. In ``tests/conftest.py``::

    from camera_detector_optimized_fixture import (  # noqa: F401
        camera_detector_fast,
        pytest_sessionfinish,
    )

That is all: wherever a fixture ``camera_detector`` is defined, ``camera_detector_fast`` takes
its place. The detector is a real one on a real broker, but discovery and health checks run
when a test says so: ``camera_detector.test_run_discovery_once()``. With
``CAMERA_DETECTOR_FIXTURE=original`` in the environment nothing is overridden.
"""

from __future__ import annotations

import sys as _sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING or not __package__:
    from mqtt_testing.registration import register as _register
    from mqtt_testing.services import plugin as _kit  # copy the folder, too
else:
    from .mqtt_testing.registration import register as _register
    from .mqtt_testing.services import plugin as _kit  # copy the folder, too

# Without the hooks, which `import *` would bring into a conftest.py that has its own.
__all__ = ["camera_detector_class", "camera_detector_fast", "ultra_fast_detector"]
__all__ += ["optimize_camera_detector_fixture"]

camera_detector_class = _kit.class_fixture(
    "CameraDetector",
    modules=("camera_detector.detect", "camera_detector", "detect"),
    overridden="camera_detector",
)
camera_detector_fast = _kit.service_fixture(
    "camera_detector_class",
    requires=_kit.Usual("config", "network_mocks", "mock_onvif"),
    tasks={
        "test_run_discovery_once": _kit.Usual(
            *["_run_full_discovery", "run_full_discovery", "_run_discovery"],
            *["run_discovery", "_discover_cameras", "discover_cameras"],
        ),
        "test_run_health_check_once": _kit.Usual(
            *["_run_health_check", "run_health_check", "_check_camera_health"],
            *["_health_check", "check_health", "_publish_health"],
        ),
    },
)
_kit.remind_of_task("test_run_discovery_once", of="camera_detector", result="cameras")


@pytest.fixture
def ultra_fast_detector() -> Any:
    """No CameraDetector at all, for tests of what merely uses one; override it."""
    from unittest.mock import MagicMock  # not before it is needed: it takes its time

    return MagicMock(cameras={}, mqtt_connected=True)


def optimize_camera_detector_fixture() -> None:
    """Ask for the override, as the import of this module does already."""
    _kit.override_fixture("camera_detector", camera_detector_fast)


pytest_collectstart = _kit.pytest_collectstart
pytest_sessionfinish = _kit.pytest_sessionfinish

_register(
    "broker", "clients", "services", modules=[_kit.futures_fix, _sys.modules[__name__]]
)
optimize_camera_detector_fixture()
