"""Small repositories that are not run, for `scripts/migrate.py scan` and `fix`."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from helpers.drop_in import TESTS

sys.path.append(str(TESTS.parent / "scripts"))
findings = importlib.import_module("migration.findings")
fixes = importlib.import_module("migration.fixes")
sys.path.pop()

WAIT = """\
import time
def test_it(camera_detector):
    time.sleep(1)
    assert camera_detector.cameras
"""

DISCOVERY = "camera_detector.test_run_discovery_once()"
HEALTH = "camera_detector.test_run_health_check_once()"


class Repo:
    """A repository of files that were never run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, its text dedented."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def scan(self) -> list[Any]:
        """Scan the repository."""
        found: list[Any] = findings.scan(self.folder)
        return found

    def marks(self) -> set[tuple[str, int, str]]:
        """What was found, as the comments say it: path, line and kind."""
        return {(str(f.path), f.line, f.kind) for f in self.scan()}

    def planted(self) -> set[tuple[str, int, str]]:
        """What the comments say that has to be found."""
        return {
            (str(path.relative_to(self.folder)), number, kind)
            for path in self.folder.rglob("*.py")
            for number, line in enumerate(path.read_text().splitlines(), 1)
            for kind in re.findall(r"#!([a-z-]+)", line)
        }

    def fixed(self) -> dict[Path, str]:
        """What the fix would write."""
        sources: dict[Path, str] = fixes.fixed_sources(self.folder)
        return sources

    def fix(self) -> None:
        """Fix the repository."""
        for path, text in self.fixed().items():
            (self.folder / path).write_bytes(text.encode())


def fixed(repo: Repo, text: str | bytes) -> str:
    """The text after a fix; the fix of a fix changes nothing."""
    path = repo.write("tests/test_it.py", text)
    repo.fix()
    assert repo.fixed() == {}
    assert not any(finding.certain for finding in repo.scan())
    return path.read_bytes().decode()


def fixed_body(
    repo: Repo,
    body: str,
    params: str = "camera_detector, mqtt_monitor, mqtt_client, network_mocks",
) -> str:
    """Return the body of a test after a fix, which keeps what is above it."""
    head = f"import time\n\nBEGIN = time.time()\n\n\ndef test_it({params}):\n"
    text = head + indent(dedent(body), "    ")
    after = fixed(repo, text)
    assert after.startswith(head)
    return dedent(after[len(head) :])
