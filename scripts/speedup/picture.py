"""The comparison as a picture: two bars for each test."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence

from shared.formatting import duration, factor

from .comparison import Comparison
from .run import AFTER, BEFORE, Timing

WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 885, 85, 375
COLOURS = {BEFORE: "#d55e00", AFTER: "#0072b2"}  # told apart by colour-blind people too
USUAL_DECADES = (-3, 1)
LOWEST_DECADE = -5
STYLE = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


def picture(comparison: Comparison) -> str:
    """Return an SVG with two bars for each test, on a logarithmic axis."""
    pairs = sorted(comparison.pairs, key=lambda pair: pair[0].overhead)
    overheads = [test.overhead for pair in pairs for test in pair if test.overhead > 0]
    decades = _decades(overheads)
    elements = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 30, _title(comparison), size=17, weight=600),
        *_legend(),
        *_axis(decades),
        *_bars(pairs, decades),
        _text((LEFT + RIGHT) / 2, HEIGHT - 18, _caption(comparison), anchor="middle"),
    ]
    body = "\n".join(elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" style="{STYLE}">\n'
        f"<title>{html.escape(_title(comparison))}</title>\n{body}\n</svg>\n"
    )


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


def _height(overhead: float, decades: range) -> float:
    """Return the height of a bar; one that is off the axis is just visible."""
    place = math.log10(overhead) if overhead > 0 else -math.inf
    share = (place - decades[0]) / (decades[-1] - decades[0])
    return max(1.0, share * (BOTTOM - TOP))


def _axis(decades: range) -> Iterator[str]:
    for decade in decades:
        y = BOTTOM - (BOTTOM - TOP) * (decade - decades[0]) / (decades[-1] - decades[0])
        yield f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#d0d0d0"/>'
        yield _text(LEFT - 8, y + 4, _unit(decade), anchor="end")


def _unit(decade: int) -> str:
    return f"{10**decade:g} s" if decade >= 0 else f"{10.0 ** (decade + 3):g} ms"


def _legend() -> Iterator[str]:
    x = LEFT
    for side, colour in COLOURS.items():
        label = f"{side.name} ({side.fixture})"
        yield f'<rect x="{x}" y="46" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, 57, label)
        x += 210
    yield _text(RIGHT, 57, "set-up plus tear-down, logarithmic", anchor="end")


def _bars(pairs: Sequence[tuple[Timing, Timing]], decades: range) -> Iterator[str]:
    room = (RIGHT - LEFT) / max(1, len(pairs))
    width = min(0.4 * room, 30)
    for number, pair in enumerate(pairs):
        middle = LEFT + room * (number + 0.5)
        for x, test, colour in zip((middle - width, middle), pair, COLOURS.values()):
            height = _height(test.overhead, decades)
            tip = html.escape(f"{test.nodeid}: {duration(test.overhead)}")
            yield (
                f'<rect class="bar" x="{x:.2f}" y="{BOTTOM - height:.1f}" width="{width:.2f}" '
                f'height="{height:.1f}" fill="{colour}"><title>{tip}</title></rect>'
            )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: int = 400
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="#222">{html.escape(text)}</text>'
    )
