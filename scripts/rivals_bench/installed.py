"""The environment that the rivals are installed in, for the benchmark only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

from shared.commands import CannotRunError
from shared.paths import ROOT

from .rivals import Rival

FOLDER = ROOT / ".rivals"
LOCK = ROOT / "requirements-dev.txt"

PINS = {
    "mirakuru": "3.1.0",
    "pytest-mqtt": "0.7.1",
    "pytest-xprocess": "1.0.2",
    "testcontainers": "4.15.0",
}
"""What the lock of this repository does not pin."""

ALL_NEED = ("pytest", "paho-mqtt")


def python_for(rivals: Iterable[Rival]) -> str:
    """Return a Python that has what *rivals* need: ours, or one that has it installed.

    Raises:
        CannotRunError: it cannot be installed.
    """
    packages = {package for rival in rivals for package in rival.packages}
    if not packages:
        return sys.executable
    python, note = FOLDER / "venv" / "bin" / "python", FOLDER / "installed.json"
    wanted = json.dumps([sys.version, *_requirements({*packages, *ALL_NEED})])
    if not note.exists() or not _has_all(note.read_text(), wanted):
        print("rivals: installs them into .rivals", file=sys.stderr, flush=True)
        _uv("venv", "--clear", f"--python={sys.executable}", str(FOLDER / "venv"))
        requirements = json.loads(wanted)[1:]
        _uv("pip", "install", "--compile-bytecode", f"--python={python}", *requirements)
        note.write_text(wanted)
    return str(python)


def versions_of(python: str, rivals: Iterable[Rival]) -> dict[str, str]:
    """Ask a Python for the versions of what the rivals consist of."""
    packages = [*ALL_NEED, *dict.fromkeys(p for rival in rivals for p in rival.packages)]
    code = (
        "import importlib.metadata, json, platform, sys\n"
        "found = {name: importlib.metadata.version(name) for name in sys.argv[1:]}\n"
        "print(json.dumps({'Python': platform.python_version(), **found}))"
    )
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def docker_answers() -> bool:
    """Return whether there is a Docker engine."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _requirements(packages: Iterable[str]) -> list[str]:
    """Return them as pip wants them, with our pins or those of the lock."""
    lock = [line for line in LOCK.read_text().splitlines() if "==" in line]
    wanted = []
    for package in sorted(packages):
        pinned = [line for line in lock if line.startswith(f"{package}==")]
        wanted += pinned or [f"{package}=={PINS[package]}"]
    return wanted


def _has_all(installed: str, wanted: str) -> bool:
    (version, *there), (wanted_version, *needed) = json.loads(installed), json.loads(wanted)
    return version == wanted_version and set(needed) <= set(there)


def _uv(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True)
    if done.returncode != 0:
        what = "the rivals cannot be installed; --only ours by-hand needs nothing"
        raise CannotRunError(f"{what}. uv says:\n{done.stderr}")
