"""What a test costs that asks for one of the fixtures."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from shared.timing import Seconds

from .runs import PATIENCE, WHOSE, overheads_in, pytest_in

SUITES = Path(__file__).with_name("suites")

BARE_CLIENT = "a fixture that connects a bare client"
TESTS_IN_WORDS = {
    "test_nothing": "a test without a fixture",
    "test_bare_client": BARE_CLIENT,
    "test_loan": "mqtt_client",
    "test_service": "camera_detector_fast",
    "test_discovery": "camera_detector_fast after a discovery",
}


def time_fixtures(rounds: int) -> dict[str, Seconds]:
    """Run tests that only ask for a fixture; return what pytest says that this took.

    Raises:
        CannotRunError: one of them fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("conftest.py", "test_fixtures.py"):
            shutil.copy(SUITES / file, folder)
        (folder / "settings.json").write_text(json.dumps({"rounds": rounds + 1}))
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly -p no:asyncio\n")
        with pytest_in(folder) as process:
            process.end_well(WHOSE, PATIENCE)
        seconds = overheads_in(folder)
    # The first one warms up.
    return {words: seconds[test][1:] for test, words in TESTS_IN_WORDS.items()}
