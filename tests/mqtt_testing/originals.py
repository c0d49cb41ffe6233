"""What the kit relies on itself, held from the import on: a mock in a test does not reach it."""

from __future__ import annotations

import functools
import subprocess
import threading
import time

# A test may have frozen the clock; freezegun does so in all modules that have one of its functions.
monotonic = functools.partial(time.monotonic)

Popen = subprocess.Popen  # and have a mock in its place

# A test may have mocks in their place.
Thread, Timer, Event = threading.Thread, threading.Timer, threading.Event
