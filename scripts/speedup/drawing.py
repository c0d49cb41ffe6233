"""How everything is drawn: figures of matplotlib, written as SVG that says what it shows."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shared.formatting import shortened

from .colours import LIGHT

POINTS_AN_INCH = 72

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "speedup",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 12,
    "figure.constrained_layout.h_pad": 0.15,
    "figure.constrained_layout.w_pad": 0.15,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "grid.color": LIGHT["rule"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handlelength": 0.9,
    "legend.handleheight": 0.9,
    "savefig.facecolor": "none",
}
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that a name may have and an SVG may not."""

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
ET.register_namespace("", SVG)


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of so many pixels, to be drawn and written in the block."""
    with style.context(["default", SETTINGS]):
        yield Figure((width / POINTS_AN_INCH, height / POINTS_AN_INCH), layout="constrained")


def plain(axes: Axes, grid: str) -> None:
    """Leave of the axes the figures, and the lines of the *grid*, x or y."""
    axes.grid(axis=grid)  # type: ignore[arg-type]
    axes.minorticks_off()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def as_svg(
    drawn: Figure,
    name: str,
    title: str,
    tips: Mapping[str, str],
    description: str = "",
) -> str:
    """Write a figure as an SVG that can be put into a page beside others of other *names*.

    A reader who points at an element learns what it is from *tips*, which has it by its id.
    """
    file = io.StringIO()
    drawn.savefig(file, format="svg", metadata=NOTHING)
    root = ET.fromstring(file.getvalue())
    width, height = (_pixels(root.get(side, "")) for side in ("width", "height"))
    root.attrib.update(role="img", width=width, height=height)
    for element in root.iter(f"{{{SVG}}}g"):
        tip = tips.get(element.get("id", ""))
        if tip is not None:
            element.set("class", "bar")
            _say(element, title=shortened(tip))
    _keep_ids_apart(root, name)
    said = {"title": title, "desc": description} if description else {"title": title}
    _say(root, **said)
    root.set("aria-labelledby", " ".join(f"{name}-{what}" for what in said))
    for element in root[: len(said)]:
        element.set("id", f"{name}-{element.tag.rpartition('}')[2]}")
    return ET.tostring(root, encoding="unicode") + "\n"


def _pixels(length: str) -> str:
    return f"{float(length.replace('pt', '')):g}"


def _say(element: ET.Element, **texts: str) -> None:
    for place, (tag, text) in enumerate(texts.items()):
        said = ET.Element(f"{{{SVG}}}{tag}")
        said.text = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
        said.tail = "\n"
        element.insert(place, said)


def _keep_ids_apart(root: ET.Element, name: str) -> None:
    """Begin the ids that are used with *name*, and drop the others."""
    elements = list(root.iter())
    used = {reference for element in elements for reference in _references(element)}
    for element in elements:
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for attribute, value in element.attrib.items():
            value = re.sub(r"url\(#", f"url(#{name}-", value)
            element.set(attribute, f"#{name}-{value[1:]}" if attribute == LINK else value)


def _references(element: ET.Element) -> Sequence[str]:
    text = " ".join(element.attrib.values())
    return [*re.findall(r"url\(#([^)]*)\)", text), element.get(LINK, "")[1:]]
