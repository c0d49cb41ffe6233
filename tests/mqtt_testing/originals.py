"""What the kit relies on itself, held from the import on: a mock in a test does not reach it."""

from __future__ import annotations

import functools
import subprocess
import threading
import time

# Not the function itself, which freezegun replaces in every module that has it.
monotonic = functools.partial(time.monotonic)

Popen = subprocess.Popen

Thread, Timer, Event = threading.Thread, threading.Timer, threading.Event
