"""Rounds of a camera detector, run by hand or waited for, and what happens between them."""

from __future__ import annotations

import time
from collections.abc import Callable

from helpers.camera_detector.detect import CameraDetector
from helpers.fake_network import FakeNetwork


def run_discovery(detector: CameraDetector) -> None:
    """One whole discovery that begins now, by itself or on request."""
    run_explicitly = getattr(detector, "test_run_discovery_once", None)
    if run_explicitly:
        run_explicitly()
    else:
        wait_for_two_more(lambda: detector.discovery_count)


def run_health_check(detector: CameraDetector) -> None:
    run_explicitly = getattr(detector, "test_run_health_check_once", None)
    if run_explicitly:
        run_explicitly()
    else:
        wait_for_two_more(lambda: detector.health_check_count)


def wait_for_two_more(runs: Callable[[], int]) -> None:
    """Two, as the next to end may have begun before the test changed something."""
    deadline = time.monotonic() + 30
    target = runs() + 2
    while runs() < target:
        assert time.monotonic() < deadline, "the background task does not run"
        time.sleep(0.1)  # 1 to 2 s in all: the interval of the background tasks


def lose(detector: CameraDetector, network_mocks: FakeNetwork, *macs: str) -> None:
    """Unplug cameras and let the threshold pass."""
    network_mocks.unplug(*macs)
    run_discovery(detector)
    for mac in macs:
        detector.cameras[mac].last_seen -= detector.config.offline_threshold + 1
    run_health_check(detector)


def plug_in_many(network_mocks: FakeNetwork, count: int) -> list[str]:
    macs = [f"dd:00:00:00:00:{number:02x}" for number in range(count)]
    for number, mac in enumerate(macs):
        network_mocks.plug_in(mac, f"10.20.0.{number + 1}")
    return macs
