"""Starts and stops of brokers, and of a bare mosquitto for comparison."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from shared.modules import (
    POLL_INTERVAL,
    START_TIMEOUT,
    BrokerError,
    MQTTEndpoint,
    TestMQTTBroker,
    find_mosquitto,
)
from shared.timing import Seconds, timed


class BareBroker:
    """A mosquitto and nothing around it; its folder and port are found beforehand."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = MQTTEndpoint(*probe.getsockname())
        self._config = self._folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.address.port} 127.0.0.1\nallow_anonymous true\n")
        self._executable = find_mosquitto()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its first answer."""
        command = [self._executable, "-c", str(self._config)]
        quiet = subprocess.DEVNULL
        deadline = time.monotonic() + START_TIMEOUT
        self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        while not self.address.answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(POLL_INTERVAL)
                raise BrokerError(f"a bare mosquitto ended with status {status}: try again")
            if time.monotonic() > deadline:
                raise BrokerError(f"a bare mosquitto does not answer within {START_TIMEOUT:g} s")

    def stop(self) -> None:
        """Kill it, and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder)


@dataclass(frozen=True)
class BrokerTimes:
    """How long starts and stops took, those of a bare mosquitto in turns with ours."""

    bare_starts: Seconds
    starts: Seconds
    stops: Seconds


def time_brokers(rounds: int) -> BrokerTimes:
    """Start and stop so many brokers of each kind, after a first one that warms up."""
    times = BrokerTimes([], [], [])
    for turn in range(rounds + 1):
        bare = BareBroker()
        try:
            bare_start = timed(bare.start, 1)
        finally:
            bare.stop()
        broker = TestMQTTBroker()
        try:
            start = timed(broker.start, 1)
        finally:
            stop = timed(broker.stop, 1)
        if turn:
            times.bare_starts.extend(bare_start)
            times.starts.extend(start)
            times.stops.extend(stop)
    return times
