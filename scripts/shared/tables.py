"""Tables of figures."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[tuple[str, ...]], header: int) -> str:
    """Return a table, its first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join([label.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()
        for label, *cells in rows
    ]
    lines.insert(header, "-" * max(map(len, lines)))
    return "\n".join(lines)
