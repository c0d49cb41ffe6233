"""Who takes part, what its user writes, and what it needs."""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass
from pathlib import Path

SUITES = Path(__file__).with_name("suites")

HAND_WRITTEN = "hand_written.py"


@dataclass(frozen=True)
class Rival:
    """A way to test with a broker."""

    name: str
    title: str
    files: tuple[str, ...]
    """What its user writes, of the folder suites; the first one is the conftest.py."""
    bus: str = "bus_by_hand"
    """The plugin that gives the tests their names for it."""
    suite: str = "test_traffic.py"
    plugins: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """What is installed for it, beside pytest and paho-mqtt."""
    takes_a_broker: bool = False
    """Whether a broker has to run beforehand."""
    takes_docker: bool = False

    @property
    def is_ours(self) -> bool:
        """Return whether it is what all others are compared with."""
        return self.name == "ours"

    @property
    def has_broker(self) -> bool:
        """Return whether there is a broker for things to be left on."""
        return self.suite != EMPTY

    def lines(self) -> int:
        """Count the lines of code that its user writes."""
        return sum(code_lines((SUITES / file).read_text()) for file in self.files)


EMPTY = "test_empty.py"

RIVALS = (
    Rival("ours", "ours", ("ours.py",), "bus_of_ours"),
    Rival("by-hand", "by hand, a broker for the session", ("by_hand.py", HAND_WRITTEN)),
    Rival(
        "sleeping",
        "by hand, a broker for each test, `sleep(2)`",
        ("by_hand_sleeping.py", HAND_WRITTEN),
    ),
    Rival(
        "pytest-mqtt",
        "pytest-mqtt, its broker started beforehand (1)",
        ("with_pytest_mqtt.py",),
        "bus_of_pytest_mqtt",
        plugins=("pytest_mqtt.capmqtt", "pytest_mqtt.mosquitto"),
        packages=("pytest-mqtt",),
        takes_a_broker=True,
    ),
    Rival("mirakuru", "mirakuru", ("with_mirakuru.py", HAND_WRITTEN), packages=("mirakuru",)),
    Rival(
        "xprocess",
        "pytest-xprocess",
        ("with_xprocess.py", HAND_WRITTEN),
        plugins=("xprocess.pytest_xprocess",),
        packages=("pytest-xprocess",),
    ),
    Rival("amqtt", "amqtt in process", ("with_amqtt.py", HAND_WRITTEN), packages=("amqtt",)),
    Rival(
        "testcontainers",
        "testcontainers",
        ("with_testcontainers.py", HAND_WRITTEN),
        packages=("testcontainers",),
        takes_docker=True,
    ),
    Rival("pytest", "pytest alone, empty tests", ("nothing.py",), "bus_of_ours", EMPTY),
)


def code_lines(source: str) -> int:
    """Count the lines with code: no blank lines, comments or docstrings."""
    lines: set[int] = set()
    is_new = True  # a string at the start of a line is no code
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING):
            is_new = True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER):
            if not (is_new and token.type == tokenize.STRING):
                lines.update(range(token.start[0], token.end[0] + 1))
            is_new = False
    return len(lines)
