"""How people write durations and ratios."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Write a duration as people do: 0.7 ms, 12 ms, 5.53 s, 5 min 40 s."""
    if seconds < 0.00995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def factor(ratio: float | None) -> str:
    """Write a ratio: 1.4 x, 460 x."""
    if ratio is None:
        return "-"
    return f"{ratio:.1f} x" if ratio < 9.95 else f"{ratio:,.0f} x"


def counted(number: int, noun: str) -> str:
    """Write a number of things: 1 file, 2 files."""
    plural = {"process": "processes"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"


def mebibytes(kibibytes: float) -> str:
    """Write an amount of memory."""
    return f"{kibibytes / 1024:,.0f} MiB"
