"""The comparison as a picture: two bars for each test."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shared.formatting import duration, factor

from .comparison import Comparison
from .run import AFTER, BEFORE, Timing

WIDTH, HEIGHT = 900, 420
POINTS_AN_INCH = 72
COLOURS = {BEFORE: "#d55e00", AFTER: "#0072b2"}  # told apart by colour-blind people too
INK, GRID = "#222222", "#d0d0d0"
USUAL_DECADES = (-3, 1)
LOWEST_DECADE = -5
JUST_VISIBLE = 1.1
"""What a bar that is off the axis is of the lowest overhead on it, so that it is seen."""

WIDEST = 0.035
"""The width of a bar where there are few, as a part of the axis."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "speedup",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 12,
    "figure.constrained_layout.h_pad": 0.15,
    "figure.constrained_layout.w_pad": 0.15,
    "text.color": INK,
    "axes.labelcolor": INK,
    "ytick.labelcolor": INK,
}
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))
SVG = "http://www.w3.org/2000/svg"


def picture(comparison: Comparison) -> str:
    """Return an SVG with two bars for each test, on a logarithmic axis."""
    pairs = sorted(comparison.pairs, key=lambda pair: pair[0].overhead)
    with style.context(["default", SETTINGS]):
        figure = Figure((WIDTH / POINTS_AN_INCH, HEIGHT / POINTS_AN_INCH), layout="constrained")
        axes = figure.add_subplot()
        tips = dict(_draw_bars(axes, pairs))
        _label(axes, comparison)
        file = io.StringIO()
        # White, to be read on a dark page too.
        figure.savefig(file, format="svg", facecolor="white", metadata=NOTHING)
    return _with_tips(file.getvalue(), _title(comparison), tips)


def _draw_bars(axes: Axes, pairs: Sequence[tuple[Timing, Timing]]) -> Iterator[tuple[str, str]]:
    """Draw the bars, and yield the id of each with what it is."""
    decades = _decades([test.overhead for pair in pairs for test in pair if test.overhead > 0])
    floor = 10.0 ** decades[0]
    width = min(0.4, WIDEST * len(pairs))
    for number, (side, colour) in enumerate(COLOURS.items()):
        tests = [pair[number] for pair in pairs]
        heights = [max(test.overhead, floor * JUST_VISIBLE) - floor for test in tests]
        places = [place + (number - 0.5) * width for place in range(len(tests))]
        label = f"{side.name} ({side.fixture})"
        bars = axes.bar(places, heights, width, floor, color=colour, label=label, log=True)
        for place, (bar, test) in enumerate(zip(bars, tests)):
            bar.set_gid(f"{side.name}-{place}")
            yield f"{side.name}-{place}", f"{test.nodeid}: {duration(test.overhead)}"
    axes.set_ylim(floor, 10.0 ** decades[-1])
    axes.set_xlim(-0.5, max(1, len(pairs)) - 0.5)
    axes.set_yticks([10.0**decade for decade in decades], [_unit(decade) for decade in decades])


def _label(axes: Axes, comparison: Comparison) -> None:
    axes.set_title(_title(comparison), loc="left", size=17, weight="bold", pad=32)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
    axes.set_ylabel("set-up plus tear-down, logarithmic")
    axes.set_xlabel(_caption(comparison), labelpad=10)
    axes.set_xticks([])
    axes.minorticks_off()
    axes.tick_params(length=0)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _title(comparison: Comparison) -> str:
    medians = comparison.median_overheads
    if medians is None:
        return "Overhead of each test, before and after"
    before, after = map(duration, medians)
    return f"Overhead per test: {before} before, {after} after ({factor(comparison.speed_up)})"


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


def _with_tips(drawing: str, title: str, tips: dict[str, str]) -> str:
    """Say what the picture is, and what each bar is that a reader points at."""
    ET.register_namespace("", SVG)
    root = ET.fromstring(drawing)
    root.attrib.update(role="img", width=str(WIDTH), height=str(HEIGHT))
    _entitle(root, title)
    for element in root.iter(f"{{{SVG}}}g"):
        tip = tips.get(element.get("id", ""))
        if tip is not None:
            element.set("class", "bar")
            _entitle(element, tip)
    return ET.tostring(root, encoding="unicode") + "\n"


def _entitle(element: ET.Element, text: str) -> None:
    title = ET.Element(f"{{{SVG}}}title")
    title.text = text
    title.tail = "\n"
    element.insert(0, title)
