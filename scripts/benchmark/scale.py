"""How it grows: workers of pytest-xdist, and runs at a time that share one external broker."""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.formatting import duration
from shared.modules import TestMQTTBroker, copy_modules
from shared.tables import markdown_table
from shared.timing import Seconds

from .fixtures import SUITES
from .runs import PATIENCE, WHOSE, overheads_in, pytest_in

COUNTS = (1, 2, 4, 8)

WIRING = "from shared_mqtt_pool import mqtt_client, mqtt_monitor, mqtt_topic_factory\n"


@dataclass(frozen=True)
class Scale:
    """What some tests took together: seconds of all, and of set-up plus tear-down of each."""

    tests: int
    seconds: float
    overheads: Seconds

    def cells(self) -> list[str]:
        """Write the figures for a table."""
        rate = f"{self.tests / self.seconds:,.0f}"
        return [duration(self.seconds), rate, duration(statistics.median(self.overheads))]


def measure_workers(workers: int, tests: int, url: str = "") -> Scale:
    """Run tests on so many workers of pytest-xdist; without *url* each has a broker of its own."""
    return _measure(1, tests, url, "-p", "xdist", "-n", str(workers))


def measure_runs(runs: int, tests: int, url: str) -> Scale:
    """Run so many times so many tests at a time, in processes that share nothing but a broker."""
    return _measure(runs, tests, url)


def _measure(runs: int, tests: int, url: str, *words: str) -> Scale:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folders = [_repository(Path(name, str(number)), tests) for number in range(runs)]
        variables = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # what happens to be installed
        if url:
            variables["MQTT_TEST_BROKER_URL"] = url
        processes = [stack.enter_context(pytest_in(f, *words, **variables)) for f in folders]
        for process in processes:
            process.end_well(WHOSE, PATIENCE)
        of_functions = [of for folder in folders for of in overheads_in(folder).values()]
        begin = min(process.began for process in processes)
        end = max(process.began + process.seconds for process in processes)
    return Scale(runs * tests, end - begin, [s for of_one in of_functions for s in of_one])


def _repository(folder: Path, tests: int) -> Path:
    folder.mkdir()
    copy_modules(folder)
    shutil.copy(SUITES / "test_scale.py", folder)
    (folder / "conftest.py").write_text(WIRING)
    (folder / "settings.json").write_text(json.dumps({"tests": tests}))
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def scale_tables(tests: int) -> str:
    """Measure all, and write it in Markdown."""
    headings = ["whole run", "tests a second", "set-up plus tear-down"]
    with TestMQTTBroker() as broker:
        url = f"mqtt://{broker.host}:{broker.port}"
        rows = [_row(n, measure_workers(n, tests), measure_workers(n, tests, url)) for n in COUNTS]
        of_workers = markdown_table(
            [f"workers, {tests:,} tests", *headings, *(f"external: {h}" for h in headings)], rows
        )
        rows = [_row(n, measure_runs(n, tests, url)) for n in COUNTS]
        of_runs = markdown_table([f"runs at a time, {tests:,} tests each", *headings], rows)
    return f"{of_workers}\n\n{of_runs}"


def _row(count: int, *scales: Scale) -> Sequence[str]:
    return [str(count), *(cell for scale in scales for cell in scale.cells())]
