"""The charts of the page: each is drawn twice, for wide windows and for narrow ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from shared.formatting import duration

from .colours import LIGHT, by_name
from .comparison import Comparison
from .drawing import as_svg, figure, plain
from .picture import WIDEST, draw_overheads, headline
from .run import Run, Timing
from .seconds import by_kind
from .seen import COUNTED

WIDE, NARROW = 1000, 336
SHOWN = 100
"""How many tests get a bar of their own; the others are counted."""

IN_TABLE = "The table below has the figures."

Tips = Mapping[str, str]
Draw = Callable[[Figure, bool], Tips]


class Chart(NamedTuple):
    """A chart for both widths, and what it shows."""

    wide: str
    narrow: str


def slowest(tests: Sequence[Timing]) -> list[Timing]:
    """Return the tests that get a bar, the slowest first."""
    return sorted(tests, key=lambda test: -test.total)[:SHOWN]


def overheads(comparison: Comparison) -> Chart:
    """Draw the overhead of the tests that both sides ran."""
    pairs = sorted(comparison.pairs, key=lambda pair: -pair.before.overhead)[:SHOWN]

    def draw(drawn: Figure, is_wide: bool) -> Tips:
        return draw_overheads(drawn.add_subplot(), pairs, with_fixtures=is_wide)

    description = f"Two bars for each test, on a logarithmic axis. {IN_TABLE}"
    return _drawn(draw, "overheads", (360, 320), headline(comparison), description)


def phases(run: Run) -> Chart:
    """Draw the slowest tests of a side, a bar each: set-up, body and tear-down."""
    tests, name = slowest(run.tests), run.side.name

    def draw(drawn: Figure, _is_wide: bool) -> Tips:
        return _draw_phases(drawn.add_subplot(), tests, name)

    title = f"Seconds of each test, {name}"
    description = f"A bar for each test, the slowest first. {IN_TABLE}"
    return _drawn(draw, f"phases-{name}", (240, 240), title, description)


def _draw_phases(axes: Axes, tests: Sequence[Timing], name: str) -> Tips:
    parts = {
        "set-up": ([test.setup for test in tests], LIGHT[name]),
        "body": ([test.call for test in tests], LIGHT["body"]),
        "tear-down": ([test.teardown for test in tests], LIGHT[f"{name}-deep"]),
    }
    tips, bottom = {}, [0.0] * len(tests)
    width = min(0.8, 2 * WIDEST * len(tests))
    for part, (heights, colour) in parts.items():
        bars = axes.bar(range(len(tests)), heights, width, bottom, color=colour, label=part)
        for place, (bar, test) in enumerate(zip(bars, tests)):
            bar.set_gid(f"{part}-{place}")
            tips[f"{part}-{place}"] = f"{test.nodeid}: {part} {duration(heights[place])}"
        bottom = [low + height for low, height in zip(bottom, heights)]
    axes.set_xlim(-0.5, max(1, len(tests)) - 0.5)
    axes.set_ylim(bottom=0)  # or it begins at the top of the lowest bar that is hardly there
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_seconds))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    plain(axes, "y")
    return tips


def over_the_run(comparison: Comparison) -> Chart:
    """Draw how many of each there were after each test."""

    def draw(drawn: Figure, is_wide: bool) -> Tips:
        panels = drawn.subplots(*((2, 2) if is_wide else (4, 1)))
        for axes, what in zip(panels.flat, COUNTED):
            _draw_counts(axes, what, (comparison.before, comparison.after))
        handles, labels = panels.flat[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper left", ncols=2)
        return {}

    title = "What is alive after each test"
    description = f"Four charts with a line for each side. {IN_TABLE}"
    return _drawn(draw, "run", (420, 640), title, description)


def _draw_counts(axes: Axes, what: str, runs: Sequence[Run]) -> None:
    for run in runs:
        counts = run.seen.counts(what)
        if len(counts) == 1:
            counts *= 2  # a line has two ends
        share = [place / max(1, len(counts) - 1) for place in range(len(counts))]
        # Where both are the same, the one is seen between the dashes of the other.
        style, above = ("-", 2) if run is runs[-1] else ("--", 3)
        colour, name = LIGHT[run.side.name], run.side.name
        axes.step(share, counts, style, where="mid", color=colour, label=name, zorder=above)
    axes.set_title(what, loc="left", size=12, color=LIGHT["muted"])
    axes.margins(x=0.01)
    axes.set_xticks([0, 1], ["first test", "last test"])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=2))
    axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 1.05))
    plain(axes, "y")
    axes.tick_params(axis="x", pad=8)


def waits(run: Run) -> Chart:
    """Draw what the seconds of a side went to."""
    seconds = by_kind(run)

    def draw(drawn: Figure, _is_wide: bool) -> Tips:
        axes = drawn.add_subplot()
        kinds = list(reversed(seconds))
        colours = [LIGHT[run.side.name]] * len(kinds)
        bars = axes.barh(kinds, [seconds[kind] for kind in kinds], 0.6, color=colours)
        axes.bar_label(bars, [duration(seconds[kind]) for kind in kinds], padding=6)
        axes.margins(x=0.2, y=0.02)
        axes.set_xticks([])
        plain(axes, "x")
        return {}

    title = f"What the seconds go to, {run.side.name}"
    height = 40 + 26 * len(seconds)
    return _drawn(draw, f"waits-{run.side.name}", (height, height), title, IN_TABLE)


def _seconds(value: float, _place: object = None) -> str:
    return "0" if value == 0 else f"{value:g} s" if value >= 1 else f"{value * 1e3:g} ms"


def _drawn(draw: Draw, name: str, heights: tuple[int, int], title: str, description: str) -> Chart:
    svgs = []
    for width, height in zip((WIDE, NARROW), heights):
        is_wide = width == WIDE
        with figure(width, height) as drawn:
            tips = draw(drawn, is_wide)
            own = f"{name}-{'wide' if is_wide else 'narrow'}"
            svgs.append(by_name(as_svg(drawn, own, title, tips, description)))
    return Chart(*svgs)
