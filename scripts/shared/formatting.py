"""How people write durations and ratios."""

from __future__ import annotations

LONGEST, END = 240, 60
"""Characters of a name that are shown, and how many of them are of its end."""


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
    """Write a ratio: 1.4 x, 460 x, 1/460 x."""
    if ratio is None:
        return "-"
    if 0 < ratio < 0.095:
        return f"1/{1 / ratio:,.0f} x"
    return f"{ratio:.1f} x" if ratio < 9.95 else f"{ratio:,.0f} x"


def counted(number: int, noun: str) -> str:
    """Write a number of things: 1 file, 2 files."""
    plural = {"process": "processes"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"


def shortened(text: str) -> str:
    """Leave out the middle of a long name: such as that of a test with a whole payload in it."""
    rest = len(text) - LONGEST
    if rest <= 0:
        return text
    return f"{text[: LONGEST - END]} [{rest:,} characters left out] {text[-END:]}"


def mebibytes(kibibytes: float) -> str:
    """Write an amount of memory."""
    return f"{kibibytes / 1024:,.0f} MiB"
