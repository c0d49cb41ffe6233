"""The overhead of each test as a picture: two bars for each, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from shared.formatting import duration, factor

from .colours import LIGHT
from .comparison import Comparison, Pair
from .drawing import as_svg, figure, plain
from .run import AFTER, BEFORE

WIDTH, HEIGHT = 900, 420
USUAL_DECADES = (-3, 1)
LOWEST_DECADE = -5
JUST_VISIBLE = 1.1
"""What a bar that is off the axis is of the lowest overhead on it, so that it is seen."""

WIDEST = 0.035
"""The width of a bar where there are few, as a part of the axis."""


def picture(comparison: Comparison) -> str:
    """Return the picture by itself, on white, to be read on a dark page too."""
    pairs = comparison.pairs
    with figure(WIDTH, HEIGHT) as drawn:
        drawn.set_facecolor(LIGHT["page"])
        axes = drawn.add_subplot()
        axes.set_title(headline(comparison), loc="left", size=17, weight="bold", pad=32)
        tips = draw_overheads(axes, pairs)
        axes.set_xlabel(_caption(comparison), labelpad=10)
        return as_svg(drawn, "overhead", headline(comparison), tips)


def draw_overheads(
    axes: Axes, pairs: Sequence[Pair], *, with_fixtures: bool = True
) -> dict[str, str]:
    """Draw the bars, in the order of the overhead before; return what each is, by its id."""
    in_order = sorted(pairs, key=lambda pair: pair.before.overhead)
    labels = [f"{s.name} ({s.fixture})" if with_fixtures else s.name for s in (BEFORE, AFTER)]
    tips = dict(_draw_bars(axes, in_order, labels))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    axes.set_ylabel("set-up plus tear-down, logarithmic")
    axes.set_xticks([])
    plain(axes, "y")
    return tips


def headline(comparison: Comparison) -> str:
    """Say in a line what the overheads have become."""
    medians = comparison.median_overheads
    if medians is None:
        return "Overhead of each test, before and after"
    before, after = map(duration, medians)
    return f"Overhead per test: {before} before, {after} after ({factor(comparison.speed_up)})"


def _draw_bars(
    axes: Axes, pairs: Sequence[Pair], labels: Sequence[str]
) -> Iterator[tuple[str, str]]:
    decades = _decades([test.overhead for pair in pairs for test in pair if test.overhead > 0])
    floor = 10.0 ** decades[0]
    width = min(0.4, WIDEST * len(pairs))
    for number, side in enumerate((BEFORE, AFTER)):
        tests = [pair[number] for pair in pairs]
        heights = [max(test.overhead, floor * JUST_VISIBLE) - floor for test in tests]
        places = [place + (number - 0.5) * width for place in range(len(tests))]
        colour, label = LIGHT[side.name], labels[number]
        bars = axes.bar(places, heights, width, floor, color=colour, label=label, log=True)
        for place, (bar, test) in enumerate(zip(bars, tests)):
            bar.set_gid(f"{side.name}-{place}")
            yield f"{side.name}-{place}", f"{test.nodeid}: {duration(test.overhead)}"
    axes.set_ylim(floor, 10.0 ** decades[-1])
    axes.set_xlim(-0.5, max(1, len(pairs)) - 0.5)
    axes.set_yticks([10.0**decade for decade in decades], [_unit(decade) for decade in decades])


def _caption(comparison: Comparison) -> str:
    before = comparison.before
    of_all = f" of {before.collected}, sampled" if before.sampled else ""
    return f"{len(comparison.pairs)} tests{of_all}, sorted by their overhead before"


def _decades(overheads: Sequence[float]) -> range:
    """Return the powers of ten that the axis spans: the usual ones, or more if it takes them."""
    logarithms = [math.log10(overhead) for overhead in overheads]
    lowest = min([USUAL_DECADES[0], *map(math.floor, logarithms)])
    highest = max([USUAL_DECADES[1], *map(math.ceil, logarithms)])
    return range(max(lowest, LOWEST_DECADE), highest + 1)


def _unit(decade: int) -> str:
    return f"{10**decade:g} s" if decade >= 0 else f"{10.0 ** (decade + 3):g} ms"
