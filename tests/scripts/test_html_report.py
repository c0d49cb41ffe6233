"""The page that verify_speedup writes: what it looks at, and what it shows of that."""

import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from helpers.house import TESTS
from helpers.verifying import Repo, run, timing
from shared.commands import CannotRunError
from shared.progress import Progress
from speedup import running
from speedup.colours import DARK, LIGHT
from speedup.command import load
from speedup.comparison import Comparison
from speedup.drawing import SVG
from speedup.run import AFTER, BEFORE
from speedup.seconds import by_kind, by_line, by_part
from speedup.seen import COUNTED, Seen, Thing, Wait

DESCRIPTION = {"machine": "Linux", "cpus": 2, "versions": {"python": "3.13"}, "date": "today"}

LEAVING = """
import asyncio, subprocess, threading, time
from conftest import IS_SLOW
import pytest

done = threading.Event()

@pytest.fixture(scope="module")
def shared():
    thread = threading.Thread(target=done.wait, name="shared")
    thread.start()
    lazy = []
    yield lazy
    done.set()
    for each in [thread, *lazy]:
        each.join()

def test_tidy(shared):
    pass

def test_lazy(shared):
    thread = threading.Thread(target=done.wait, name="lazy")
    thread.start()
    shared.append(thread)

def test_leaves(shared):
    if IS_SLOW:
        threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()
        global child, loop, task
        child = subprocess.Popen(["sleep", "30"])
        loop = asyncio.new_event_loop()
        task = loop.create_task(asyncio.sleep(30), name="sleeper")
        loop.run_until_complete(asyncio.sleep(0))

def test_waits(shared):
    time.sleep(0.2)
"""


@pytest.fixture
def in_process(in_process, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def run_closely(repo):
    suite = running.Suite(repo.folder, [], [], sys.executable, look=True)
    return running.run_tests(suite, BEFORE, Progress())


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def drawn(comparison, name="thermostat"):
    return load("page")(comparison, {**DESCRIPTION}, name)


def svgs(text):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def bars(svg):
    return [group for group in svg.iter() if group.get("class") == "bar"]


def table(text, caption):
    """Return the cells of a table by row, as text."""
    found = re.search(rf"<caption>{caption}</caption>(.*?)</table>", text, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found[1])
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[cell.replace("<wbr>", "") for cell in row] for row in cells]


def compared():
    names = ["test_a.py::test_one", "test_a.py::test[<&\"'>]", "test_b.py::test[#ffffff]"]
    before = run(BEFORE, *(timing(name, 2.0, 0.5) for name in names), seconds=8.0)
    after = run(AFTER, *(timing(name, 0.002, 0.1) for name in names), seconds=1.0)
    for side in (before, after):
        side.first_test_began, side.last_test_ended = 0.3, side.seconds - 0.1
        for number in (3, 9, 4):
            side.seen.take("samples", [{"process": 1, **dict.fromkeys(COUNTED, number)}])
    before.seen.waits.append(Wait(names[0], "src/a.py", 7, "sleep", 1.5))
    before.seen.left.append(Thing("thread", 1, "loop", 1, names[0]))
    return Comparison(before, after)


@pytest.fixture(scope="module")
def text():
    """The page about a few tests, which takes a second to draw."""
    return drawn(compared(), name="<script>")


# --- what is looked at ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What is told, and shown, of a suite that leaves things before, and nothing after."""
    repo = Repo(tmp_path_factory.mktemp("leaving"))
    repo.write("test_one.py", LEAVING)
    page = repo.folder / "report.html"
    figures, _ = repo.figures("--full", "--html", page)
    return figures, page.read_text()


@pytest.mark.slow
def test_what_is_left_behind_is_told_with_the_test_that_has_left_it(looked):
    figures, page = looked
    left = figures["before"]["seen"]["left_behind"]
    assert set(left) == {"test_one.py::test_leaves"}
    things = {(thing["kind"], thing["name"]) for thing in left["test_one.py::test_leaves"]}
    assert things == {("thread", "forgotten"), ("process", "sleep"), ("task", "sleep")}
    [[by, what, end]] = table(page, "Left behind, before")[1:]
    assert by == "test_one.py::test_leaves"
    assert "1 process (sleep)" in what
    assert end == "still there"


@pytest.mark.slow
def test_what_a_fixture_for_several_tests_ends_is_left_by_none_of_them(looked):
    figures, page = looked
    for side in ("before", "after"):
        [(fixture, things)] = figures[side]["seen"]["shared"].items()
        assert fixture == "shared (module)"
        assert [thing["name"] for thing in things] == ["lazy"]
    assert figures["after"]["seen"]["left_behind"] == {}
    assert figures["after"]["seen"]["stayed"] == []
    assert "1 thread by shared (module)" in page


@pytest.mark.slow
def test_threads_are_counted_after_each_test(looked):
    figures, _ = looked
    first, lazy, leaves, last = figures["before"]["seen"]["counts"]["threads"]
    assert (lazy - first, leaves - lazy, last - leaves) == (1, 1, -2)  # the shared ones have ended
    assert all(count > 2 for count in figures["after"]["seen"]["counts"]["descriptors"])


@pytest.mark.slow
def test_the_line_at_which_a_test_waits_is_told(looked):
    figures, page = looked
    waits = [wait for wait in figures["after"]["seen"]["waits"] if wait["kind"] == "sleep"]
    place = LEAVING.splitlines().index("    time.sleep(0.2)") + 1
    assert {(wait["file"], wait["line"]) for wait in waits} == {("test_one.py", place)}
    assert sum(wait["seconds"] for wait in waits) == pytest.approx(0.2, abs=0.1)
    assert [f"test_one.py:{place}", "sleep"] == table(
        page, "The lines with the longest waits, after"
    )[1][:2]


@pytest.mark.slow
def test_connected_clients_and_brokers_are_counted(repo, in_process):
    repo.write(
        "test_one.py",
        """
from mqtt_test_broker import TestMQTTBroker
import paho.mqtt.client as mqtt

broker = TestMQTTBroker()

def test_begins():
    broker.start()
    global client
    versions = [mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []
    client = mqtt.Client(*versions, client_id="forgotten")
    client.connect(broker.host, broker.port)
    while not client.is_connected():
        client.loop(0.1)

def test_ends():
    client.disconnect()
    broker.stop()
""",
    )
    seen = run_closely(repo).seen
    assert seen.counts("connections") == [1, 0]
    assert seen.counts("brokers") == [1, 0]
    [things] = seen.left_behind().values()
    assert {("client", "forgotten"), ("process", "mosquitto")} <= {(t.kind, t.name) for t in things}
    assert {thing.name for thing in seen.stayed}.isdisjoint({"forgotten", "mosquitto"})


@pytest.mark.slow
def test_workers_are_looked_at_each(repo):
    pytest.importorskip("xdist")
    repo.write("test_one.py", LEAVING)
    page = repo.folder / "report.html"
    figures, _ = repo.figures("--full", "--html", page, "--", "-p", "xdist", "-n", "2")
    seen = figures["before"]["seen"]
    assert set(seen["left_behind"]) == {"test_one.py::test_leaves"}
    assert len(seen["counts"]["threads"]) == 4


def test_nothing_is_looked_at_where_no_page_is_asked_for(repo, in_process):
    assert repo.run_before().seen == Seen()


# --- what is made of it ---------------------------------------------------------------------------


def test_the_parts_of_a_run_are_all_of_it():
    comparison = compared()
    for side in (comparison.before, comparison.after):
        assert sum(by_part(side).values()) == pytest.approx(side.seconds)
        assert sum(by_kind(side).values()) == pytest.approx(side.seconds)
    assert by_kind(comparison.before)["sleep"] == 1.5


def test_waits_of_a_line_are_added_up():
    side = run(BEFORE, timing("a", 1.0), timing("b", 1.0))
    for test, seconds in (("a", 0.5), ("b", 0.25), ("", 9.0)):
        side.seen.waits.append(Wait(test, "src/a.py", 7, "sleep", seconds))
    assert by_line(side) == [("src/a.py:7", "sleep", 0.75, 2)]


def test_what_several_processes_have_is_added_up():
    seen = Seen()
    for process, threads in ((1, 2), (2, 3), (1, 5)):
        seen.take("samples", [{"process": process, "threads": threads}])
    assert seen.counts("threads") == [2, 5, 8]


def test_a_fixture_that_leaves_something_is_named():
    seen = Seen(stayed=[Thing("thread", 1, "loop", 1, "service (session)")])
    assert list(seen.left_behind()) == ["service (session)"]


# --- the page -------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing(text):
    page = Page(text)
    assert not page.all("script", "img", "iframe", "object", "embed", "video", "audio", "base")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert not re.search(r"url\((?!#)|@import", text)
    [policy] = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_every_place_on_the_page_is_one(text):
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = [attributes["href"][1:] for attributes in page.all("a")]
    labels = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert {*referred, *" ".join(labels).split()} <= set(ids)


def test_each_chart_says_what_it_shows_and_has_a_table(text):
    charts = svgs(text)
    assert len(charts) == 2 * 6  # one for wide windows, one for narrow ones
    for chart in charts:
        title, description = chart[0], chart[1]
        assert chart.get("role") == "img"
        assert title.text
        assert "table" in description.text
        assert chart.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
    assert len(Page(text).all("table")) >= 6


def test_the_totals_of_the_terminal_are_on_the_page(text):
    totals = table(text, "Both sides")[1:]
    assert ["overhead per test, median", "2.00 s", "2.0 ms", "1,000 x"] in totals
    assert ["tests failed", "0", "0", ""] in totals


def test_each_test_has_a_bar_of_three_parts(text):
    charts = [svg for svg in svgs(text) if "phases" in svg.get("aria-labelledby")]
    tips = [group[0].text for group in bars(charts[0])]
    assert len(tips) == 3 * 3
    assert "test_a.py::test_one: body 500 ms" in tips
    assert "test_b.py::test[#ffffff]: body 500 ms" in tips  # which is a colour of ours
    assert table(text, "Seconds of each test, before")[1] == [
        *("test_a.py::test_one", "1.50 s", "500 ms", "500 ms", "passed")
    ]


def test_odd_names_are_text(text):
    assert "<script" not in text
    assert "test[&lt;&amp;" in text


def test_colours_follow_the_page(text):
    [wide, *_] = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert "var(--before)" in wide
    assert not re.search(r"(fill|stroke): #", wide)
    assert set(DARK) == set(LIGHT)
    assert LIGHT["before"] in load("picture")(compared())  # the picture by itself has no page


@pytest.mark.slow
def test_a_name_of_any_length_and_any_characters_is_shown():
    names = [f"t.py::test[{'y' * 10_000}]", f"t.py::test[{'<b>' * 200}]", "t.py::test[\x01\x1b]"]
    before, after = (run(side, *(timing(name, 0.5) for name in names)) for side in (BEFORE, AFTER))
    before.seen.left.append(Thing("thread", 1, "n" * 500, 1, names[0]))
    before.tests.append(timing(f"t.py::test[{'z' * 5_000}]", 0.1, outcome="failed"))
    text = drawn(Comparison(before, after))
    assert max(map(len, re.findall(r"[yzn]+", text))) < 200
    assert "[9,772 characters left out] yyy" in text
    assert len(svgs(text)) == 2 * 6  # each is XML


@pytest.mark.slow
def test_of_many_problems_the_first_are_shown_once_and_the_others_counted():
    tests = [timing(f"test_{number}", 0.1, outcome="failed") for number in range(300)]
    text = drawn(Comparison(run(BEFORE, *tests), run(AFTER, *tests)))
    assert text.count(": failed: ") == 50
    assert "... and 550 more, which the terminal has shown." in text
    assert "Failed:" not in text


@pytest.mark.slow
def test_a_single_test_is_seen_over_the_run():
    sides = [run(side, timing("test_one", 0.1)) for side in (BEFORE, AFTER)]
    for side in sides:
        side.seen.take("samples", [{"process": 1, **dict.fromkeys(COUNTED, 3)}])
    text = drawn(Comparison(*sides))
    chart = next(svg for svg in svgs(text) if svg.get("aria-labelledby").startswith("run-wide"))
    lines = [(path.get("d"), is_of_a_side(path)) for path in chart.iter(f"{{{SVG}}}path")]
    lines = [(re.findall(r"[ML] ([\d.]+)", places), of[1]) for places, of in lines if of][:8]
    assert all(float(places[-1]) - float(places[0]) > 300 for places, _ in lines)
    # Both are the same: the one that has dashes is drawn last.
    assert [side for _, side in lines] == ["after", "before"] * 4
    phases = next(svg for svg in svgs(text) if "phases" in svg.get("aria-labelledby"))
    assert all(width_of(bar) < 100 for bar in bars(phases))


@pytest.mark.slow
def test_the_seconds_of_a_test_begin_at_zero_though_its_set_up_takes_none():
    sides = [run(side, timing("test_one", 1e-6, 300.0)) for side in (BEFORE, AFTER)]
    phases = next(
        s for s in svgs(drawn(Comparison(*sides))) if "phases" in s.get("aria-labelledby")
    )
    assert "0" in [text.text for text in phases.iter(f"{{{SVG}}}text")]


def width_of(bar):
    [path] = bar.iter(f"{{{SVG}}}path")
    places = [float(x) for x in re.findall(r"[ML] ([\d.]+)", path.get("d"))]
    return max(places) - min(places)


def is_of_a_side(path):
    return re.search(r"stroke: var\(--(before|after)\)", path.get("style", ""))


@pytest.mark.slow
def test_where_nothing_has_lasted_is_a_page_too():
    sides = [run(side, timing("a", 0.0), timing("b", 0.0)) for side in (BEFORE, AFTER)]
    text = drawn(Comparison(*sides))
    assert ["overhead per test, median", "0.0 ms", "0.0 ms", "-"] in table(text, "Both sides")


@pytest.mark.slow
def test_what_fixtures_leave_and_what_workers_share_is_said():
    comparison = compared()
    comparison.after.seen.left.append(Thing("thread", 1, "loop", 1, "service (session)"))
    comparison.before.seen.left.append(Thing("thread", 2, "loop", 1, "service (session)"))
    text = drawn(comparison)
    assert "Before: 2 things by 1 test and 1 fixture</h3>" in text
    assert "After: 1 thing by 1 fixture</h3>" in text
    assert "sums over all workers" not in text
    comparison.after.parallel = True
    assert "sums over all workers" in drawn(comparison)


@pytest.mark.slow
def test_of_many_tests_the_slowest_are_shown_and_the_others_counted():
    names = [f"test_{number}" for number in range(1500)]
    before = run(BEFORE, *(timing(name, 0.1 + 0.001 * n) for n, name in enumerate(names)))
    after = run(AFTER, *(timing(name, 0.001) for name in names))
    text = drawn(Comparison(before, after))
    rows = table(text, "Seconds of each test, before")[1:]
    assert len(rows) == 101
    assert rows[0][0] == "test_1499"
    assert rows[-1][0] == "the other 1,400 together"
    assert "Shown are the slowest 100. The other 1,400 are summed up in the table." in text
    assert max(len(bars(svg)) for svg in svgs(text)) == 3 * 100
    assert len(text) < 2_000_000


@pytest.mark.slow
def test_who_has_left_most_comes_first_and_the_others_are_counted():
    names = [f"test_{number}" for number in range(30)]
    before = run(BEFORE, *(timing(name, 1.0) for name in names))
    for number, name in enumerate(names):
        things = (Thing("process", 100 * number + n, "sh", 1, name) for n in range(number + 1))
        before.seen.left += things
    text = drawn(Comparison(before, run(AFTER, *(timing(name, 0.1) for name in names))))
    rows = table(text, "Left behind, before")[1:]
    assert rows[0] == ["test_29", "30 processes (sh, sh, sh, ...)", "gone"]
    assert rows[-1][:2] == ["the other 10 together", "55 processes"]
    assert "465 things by 30 tests" in text


@pytest.mark.slow
def test_what_failed_is_at_the_top():
    comparison = compared()
    comparison.after.tests.append(timing("test_c.py::test_bad", 1.0, outcome="failed"))
    text = drawn(comparison).replace("<wbr>", "")
    assert text.index("test_c.py::test_bad: failed") < text.index("Totals</h2>")


@pytest.mark.slow
def test_nothing_in_common_is_a_page_too():
    text = drawn(Comparison(run(BEFORE, timing("a", 2.0)), run(AFTER, timing("b", 0.5))))
    assert "No test ran on both sides." in text
    assert "differs: a: not run after" in text
    assert "differs: b: not run before" in text


def test_without_what_draws_a_page_nothing_is_run(monkeypatch):
    monkeypatch.delitem(sys.modules, "speedup.page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(CannotRunError, match="--html needs jinja2, which this Python lacks"):
        load("page")
