#!/usr/bin/env python3
"""Time the same tests with the original and with the fast fixture, and show both side by side.

    scripts/verify_speedup.py                        a sample of the slow side, a minute at most
    scripts/verify_speedup.py --full                 all of it
    scripts/verify_speedup.py --asyncio              the tests of an asyncio service
    scripts/verify_speedup.py --repo ~/thermostat    another repository, all that its pytest finds
    scripts/verify_speedup.py tests/test_a.py -- -k discovery
    scripts/verify_speedup.py --html report.html     and a page about it, for a browser

Each side is a `python -m pytest` of its own: "before" with CAMERA_DETECTOR_FIXTURE=original in its
environment, "after" without. The exit status is 0 if all tests pass on both sides, 1 if one fails
or ends differently on the two, 2 if they cannot be run.

In each of those processes a copy of speedup/probe.py, a pytest plugin, reports as they happen what
the tests did and how long it took.
"""

import sys

from shared.commands import take_other_ends_for_ctrl_c
from shared.environment import require

if __name__ == "__main__":
    require(["rich"], "--python", sys.executable)
    from speedup.command import main

    take_other_ends_for_ctrl_c()
    sys.exit(main())
