#!/usr/bin/env python3
"""Measures what the modules cost, each against a floor measured in the same run.

Usage: ``make bench``, ``scripts/bench.py --loans 10000`` for the long run of loans, or
``scripts/bench.py --scale`` for how it grows: with workers of pytest-xdist, each with a broker or
all on one external broker, and with runs at a time on one external broker.
"""

import sys

from benchmark.command import main
from shared.commands import take_other_ends_for_ctrl_c

if __name__ == "__main__":
    take_other_ends_for_ctrl_c()
    sys.exit(main())
