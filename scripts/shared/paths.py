"""Where this repository has what the commands work on."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"
TESTS = ROOT / "tests"
SLOW_SUITE = "tests/test_detect.py"
"""The suite that has a slow fixture and a fast one, relative to the root."""

ASYNCIO_SUITE = "tests/charging"
"""The same for asyncio."""
