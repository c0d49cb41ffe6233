#!/usr/bin/env python3
"""Do for minutes what wears a test broker out, and show what it cost and whether anything stayed.

    scripts/soak.py                     all of it, ten minutes at most
    scripts/soak.py --quick             a tenth of everything
    scripts/soak.py recoveries loans    some of its parts

The exit status is 0 if all goals are met, 1 if one is missed, 2 if it cannot be run. What it
starts carries a mark in its environment, by which it is found and ended whatever happened; what
it writes is in a temporary folder. It takes Linux, whose /proc tells what it measures.
"""

import sys

from shared.commands import take_other_ends_for_ctrl_c
from soak_test.command import main

if __name__ == "__main__":
    take_other_ends_for_ctrl_c()
    sys.exit(main())
