"""Tables of figures."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence

from rich.box import Box
from rich.console import Console
from rich.table import Table

RULE_UNDER_HEADINGS = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
UNLIMITED = 10_000


def figures_table(*headings: str) -> Table:
    """Return an empty table, its first column to the left, the others to the right."""
    table = Table(box=RULE_UNDER_HEADINGS, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", overflow="fold")
    return table


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table as Markdown has it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_text(table: Table) -> str:
    """Write a table without colours, as wide as it is, whatever the terminal."""
    text = io.StringIO()
    console = Console(
        file=text,
        width=UNLIMITED,
        height=UNLIMITED,
        force_terminal=False,
        color_system=None,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def show(table: Table) -> None:
    """Print a table: on a terminal to its width, else as text."""
    if sys.stdout.isatty():
        Console(force_terminal=True, markup=False, emoji=False, highlight=False).print(table)
    else:
        print(as_text(table), flush=True)
