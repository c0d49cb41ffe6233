"""Pages in a headless Chromium, and their pictures: what `make matrix ARGS="--session page"` uses.

python tests/helpers/browser.py report.html docs    # takes the pictures of the documentation
"""

from __future__ import annotations

import importlib
import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "install Chromium (`apt-get install chromium`)"

PICTURES = {"report-light.png": (1280, "light"), "report-dark-narrow.png": (400, "dark")}
END = "[aria-labelledby=tests]"
"""What comes after the part of the page that is enough for a picture."""

COLOURS = 64


def chromium() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@dataclass
class Opened:
    """A page, what it has asked for, and what it has complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def opened(path: Path, width: int, scheme: str) -> Iterator[Opened]:
    """Open a page in a window of so many pixels, in a colour scheme: light or dark."""
    playwrights: Any = importlib.import_module("playwright.sync_api")  # in that session only
    with playwrights.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        shown = Opened(context.new_page())
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.on("console", lambda message: shown.complaints.append(message.text))
        shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        shown.page.goto(path.resolve().as_uri())
        yield shown
        browser.close()


def take_pictures(path: Path, folder: Path) -> None:
    """Take the pictures of a page, small enough for a repository."""
    from PIL import Image

    for name, (width, scheme) in PICTURES.items():
        with opened(path, width, scheme) as shown:
            height = shown.page.evaluate(f"document.querySelector('{END}').offsetTop")
            clip = {"x": 0, "y": 0, "width": width, "height": height}
            taken = shown.page.screenshot(full_page=True, clip=clip)
        image = (
            Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        )
        image.save(folder / name, optimize=True)


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]), Path(sys.argv[2]))
