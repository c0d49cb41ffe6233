"""More messages than the monitor keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from shared.formatting import mebibytes
from shared.paths import TESTS

from ..figures import FailedError, Figure, at_most, exactly, told
from ..workspace import Workspace

ENDS = 2
"""Messages that end the two parts of the flood."""


def flood(workspace: Workspace) -> Iterator[Figure]:
    """Publish a million messages to a session that watches them."""
    messages = workspace.of(1_000_000)
    repo = workspace.repository(
        "flood", "test_flood.py", thousands=messages // 1000, tests=str(TESTS)
    )
    run = workspace.run("flood", repo)
    [test] = run.tests
    if test.failed:
        raise FailedError(test.reason)
    figures = json.loads((repo / "figures.json").read_text())
    counted = figures["kept"] + figures["dropped"] - ENDS
    yield exactly("messages counted by the monitor, QoS 0", counted, messages)
    yield told("of these kept", figures["kept"] - ENDS)
    said = re.findall(r"(\d+) earlier messages were not kept", run.output)
    yield exactly("of these dropped, as the summary says", sum(map(int, said)), figures["dropped"])
    yield told("messages a second", round(messages / figures["seconds"]))
    yield told("memory of pytest before", figures["before"], mebibytes)
    yield told("its peak after a fifth of them", figures["filled"], mebibytes)
    yield at_most("its peak after all", figures["peak"], figures["filled"] * 1.1, mebibytes)
    yield told("memory of pytest after", figures["after"], mebibytes)
    yield told("peak of mosquitto", figures["broker"], mebibytes)
