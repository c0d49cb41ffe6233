"""A broker that refuses at first, and the sleeps between the tries."""

from __future__ import annotations

import threading
import time
from unittest.mock import Mock

import pytest

from helpers.camera_detector.detect import CameraDetector


class ReluctantClient(Mock):
    """An MQTT client whose first connections are refused."""

    def refuse(self, times: int, detector: CameraDetector) -> None:
        self.connect.side_effect = [ConnectionRefusedError("refused")] * times + [0]
        self.loop_start.side_effect = lambda: detector._on_connect(self, None, {}, 0)


def sleeps_of_this_thread(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps of this thread from now on, which are not slept; those of others are."""
    slept: list[float] = []
    this_thread, sleep = threading.current_thread(), time.sleep

    def record(seconds: float) -> None:
        if threading.current_thread() is this_thread:
            slept.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr(time, "sleep", record)
    return slept
