"""The figures as tables in Markdown, and who is ahead of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from shared.formatting import duration, mebibytes
from shared.tables import markdown_table

from .measuring import TYPICAL, Result

KINDS = {
    "test_qos_0": "QoS 0",
    "test_qos_1": "QoS 1",
    "test_qos_2": "QoS 2",
    "test_nothing": "nothing was published",
    "test_service": "a service with a thread",
}

NOTE = """(1) Its fixture `mosquitto` takes Docker. Here a mosquitto runs before pytest does, and
neither its start nor its end is counted."""

GROWTH = 1.1
"""What set-up plus tear-down may grow to in the largest run, relative to runs of 50 beside it."""

KIB_A_TEST = 5.0
"""What a test may add to the memory of pytest."""

Figure = Callable[[Result], Optional[float]]


@dataclass(frozen=True)
class Column:
    """A figure of each rival, of which less is better, and how it is written."""

    heading: str
    figure: Figure
    text: Callable[[Result], str]

    def cells(self, results: Sequence[Result]) -> Iterator[str]:
        """Write the figure of each, in bold where no rival has less."""
        known = [r for r in results if r.rival.has_broker and self.figure(r) is not None]
        least = {self.text(min(known, key=lambda r: self.figure(r) or 0.0))} if known else set()
        for result in results:
            text = self.text(result)
            yield f"**{text}**" if result.rival.has_broker and text in least else text

    def ahead(self, ours: Result, result: Result) -> str:
        """Say that a rival has less than ours; empty if the table does not show it."""
        own, figure = self.figure(ours), self.figure(result)
        if own is None or figure is None or figure >= own or self.text(ours) == self.text(result):
            return ""
        return f"{self.heading} ({self.text(result)}, ours {self.text(ours)})"


def column(
    heading: str,
    figure: Figure,
    write: Callable[[float], str] = duration,
    absent: str = "not run",
) -> Column:
    """Return a column of figures that are all written the same way."""

    def text(result: Result) -> str:
        value = figure(result)
        return absent if value is None else write(value)

    return Column(heading, figure, text)


def _whole_run(tests: int) -> Column:
    heading = f"run of {tests:,} tests"
    return column(heading, lambda result: result.median(tests, lambda r: r.seconds))


def _overhead_in(tests: int) -> Column:
    return column(f"{tests:,} tests", lambda result: result.median(tests, lambda r: r.overhead))


def _kind(kind: str) -> Column:
    return column(KINDS[kind], lambda result: result.typical(lambda run: run.kinds.get(kind, 0.0)))


def all_columns(sizes: Sequence[int]) -> list[Column]:
    """Return the columns of the table of all that was asked."""
    return [
        column("set-up plus tear-down", lambda r: r.typical(lambda run: run.overhead)),
        *map(_whole_run, sizes),
        column("one test, prompt to prompt", lambda r: r.one_test()),
        column("exit", lambda r: r.typical(lambda run: run.exit)),
        column("memory", lambda r: r.typical(lambda run: run.memory), mebibytes),
        column("lines of code", lambda r: r.lines, "{:.0f}".format),
        Column("left for the next test", lambda r: r.count_leaks(), _leaks),
        column("orphans", lambda r: r.orphans, "{:.0f}".format, absent="-"),
    ]


def _leaks(result: Result) -> str:
    return "-" if result.leaks is None else ", ".join(result.leaks) or "nothing"


def growth_columns(sizes: Sequence[int]) -> list[Column]:
    """Return the columns of the table of how set-up plus tear-down grows."""
    memory = column("KiB a test", lambda r: r.memory_growth(), "{:.1f}".format, absent="-")
    return [*map(_overhead_in, sizes), memory]


def table(what: str, columns: Sequence[Column], results: Sequence[Result]) -> str:
    """Write a table, a row for each rival."""
    titles = [result.title for result in results]
    rows = zip(titles, *(column.cells(results) for column in columns))
    return markdown_table([what, *(column.heading for column in columns)], list(rows))


def tables(results: Sequence[Result], sizes: Sequence[int]) -> Iterator[str]:
    """Write all that is shown, a paragraph each."""
    with_broker = [result for result in results if result.rival.has_broker]
    columns, kinds = all_columns(sizes), [*map(_kind, KINDS)]
    yield table("tests with", columns, results)
    if any(result.rival.takes_a_broker for result in results):
        yield NOTE
    yield table("a test, its set-up and tear-down included", kinds, with_broker)
    yield table("set-up plus tear-down in a run of", growth_columns(sizes), results)
    ours = next((result for result in results if result.rival.is_ours and result.runs), None)
    if ours is not None:
        yield "\n".join(_who_is_ahead([*columns, *kinds], ours, with_broker))
        yield from _goals(ours, results)


def _who_is_ahead(columns: Sequence[Column], ours: Result, others: Sequence[Result]) -> list[str]:
    lines = []
    for other in others:
        figures = ", ".join(filter(None, (column.ahead(ours, other) for column in columns)))
        if figures:
            lines.append(f"- {other.title}: {figures}")
    return ["Ahead of ours:", "", *lines] if lines else ["Nothing is ahead of ours."]


def _goals(ours: Result, results: Sequence[Result]) -> Iterator[str]:
    """Say whether ours stays as it is, however many tests there are."""
    growth, memory = ours.overhead_growth(), ours.memory_growth()
    if growth is None or memory is None:
        return
    alone = next((r.memory_growth() for r in results if not r.rival.has_broker), None)
    of_pytest = "" if alone is None else f", of which pytest alone {alone:.1f} KiB"
    is_met = growth <= GROWTH and memory <= KIB_A_TEST
    yield (
        f"{'' if is_met else 'MISSED: '}ours with {max(ours.runs):,} tests: {growth:.2f} times the "
        f"set-up plus tear-down of {TYPICAL} right before and after (at most {GROWTH:g}), "
        f"{memory:.1f} KiB a test (at most {KIB_A_TEST:g}){of_pytest}"
    )
