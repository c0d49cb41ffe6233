"""The page of verify_speedup in a browser: `make matrix ARGS="--session page"` runs these."""

import importlib

import pytest
from helpers.browser import INSTALL, chromium, opened
from helpers.verifying import Repo

pytestmark = pytest.mark.slow

AXE = "axe_playwright_python.sync_playwright"

LEAVING = """
import threading
from conftest import IS_SLOW

def test_leaves(thing):
    if IS_SLOW:
        threading.Thread(target=threading.Event().wait, daemon=True).start()

def test_fails(thing):
    assert not IS_SLOW, "what is wrong is on the page too"
"""

WIDTHS, SCHEMES = (400, 1280), ("light", "dark")

AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# The contrast of each colour that is drawn, or that text in a drawing has, to the page.
CONTRASTS = """
() => {
    const channel = (value) => {
        value /= 255;
        return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    };
    const luminance = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(channel);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = luminance(getComputedStyle(document.body).backgroundColor);
    const ratio = (colour) => {
        const own = luminance(colour);
        return (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05);
    };
    const fills = (selector) => [...new Set(
        [...document.querySelectorAll(selector)].map((element) => getComputedStyle(element).fill)
    )].filter((fill) => fill.startsWith("rgb")).map((fill) => [fill, ratio(fill)]);
    return {texts: fills("svg text"), bars: fills("svg .bar path")};
}
"""

# How many drawings are shown of each chart.
VISIBLE = """
[...document.querySelectorAll("figure")].map((figure) => (
    [...figure.querySelectorAll("svg")].filter((svg) => svg.checkVisibility()).length
))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    if chromium() is None:
        pytest.skip(f"there is no Chromium: {INSTALL}")
    pytest.importorskip(AXE, reason='axe is missing: `make matrix ARGS="--session page"` has it')
    repo = Repo(tmp_path_factory.mktemp("report"))
    repo.write("test_two.py", LEAVING)
    path = repo.folder / "report.html"
    repo.verify("--full", "--html", path, status=1)
    return path


@pytest.fixture(
    scope="module",
    params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES],
    ids=lambda each: f"{each[0]}-{each[1]}",
)
def shown(report, request):
    with opened(report, *request.param) as shown:
        yield shown


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")


def test_nothing_is_asked_for_and_nothing_complained_about(shown):
    assert {url.partition(":")[0] for url in shown.requests} == {"file"}
    assert shown.complaints == []


def test_nothing_is_wider_than_the_window(shown):
    unfold(shown.page)
    width, window = shown.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= window


def test_everyone_can_read_it(shown):
    unfold(shown.page)
    axe = importlib.import_module(AXE).Axe()
    result = axe.run(shown.page, options={"runOnly": AA}).response
    found = {v["id"]: [node["html"] for node in v["nodes"]] for v in result["violations"]}
    assert found == {}
    assert "color-contrast" in {each["id"] for each in result["passes"]}


def test_what_is_drawn_is_seen(shown):
    contrasts = shown.page.evaluate(CONTRASTS)
    assert contrasts["texts"]
    assert contrasts["bars"]
    assert [fill for fill, ratio in contrasts["texts"] if ratio < 4.5] == []
    assert [fill for fill, ratio in contrasts["bars"] if ratio < 3] == []


def test_one_drawing_of_each_chart_is_shown(shown):
    assert set(shown.page.evaluate(VISIBLE)) == {1}


def test_the_keyboard_leads_past_the_contents_and_shows_where_it_is(shown):
    page = shown.page
    page.reload()  # others have moved about on it
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
