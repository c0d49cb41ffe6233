"""How long the clients wait and how much they keep, in one place."""

from __future__ import annotations

TIMEOUT = 5.0
"""Seconds that a broker gets for an answer before the test fails."""

FLOOD_TIMEOUT = 60.0
"""Seconds that it gets where messages that were published before go on arriving meanwhile."""

CALLBACK_PATIENCE = 1.0
"""Seconds that a callback may keep its network loop before nothing more is awaited from it."""

LOOK_INTERVAL = 0.05
"""Seconds after which a barrier that is not back has its connection looked at."""

REPORT_PATIENCE = 0.5
"""Seconds that the broker gets, once a test has failed, to send what was published before."""

LATEST = 20
"""Messages that a failure lists; of earlier ones it says how many."""

HISTORY_LENGTH = 100_000
"""Messages that the monitor keeps; of more it keeps the latest and says so."""

HISTORY_SIZE = 64 * 1024 * 1024
"""Bytes of payload that it keeps at most, and the latest message, however large."""
