#!/usr/bin/env python3
"""Run the same tests with what people use instead, and with ours, and show what each takes.

    scripts/rivals.py                          all of them, ten minutes at most
    scripts/rivals.py --only ours by-hand      some of them
    scripts/rivals.py --rounds 1 --tests 5     a look, in seconds

Prints tables in Markdown, which docs/measured.md quotes; all figures go to .rivals/figures.json.
What the others need is installed there, too, at the first call. It takes Linux, whose /proc tells
what it measures.
"""

import sys

from shared.commands import take_other_ends_for_ctrl_c
from shared.environment import require

if __name__ == "__main__":
    require(["rich"])
    from rivals_bench.command import main

    take_other_ends_for_ctrl_c()
    sys.exit(main())
