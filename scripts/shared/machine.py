"""What figures are taken on: the machine, the versions, and the date."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any


def circumstances(versions: dict[str, str]) -> dict[str, Any]:
    """Return what figures are taken on, and when."""
    return {
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def in_words(circumstances: dict[str, Any]) -> str:
    """Write the circumstances in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in circumstances["versions"].items())
    machine = f"{circumstances['machine']}, {circumstances['cpus']} CPUs"
    return f"{machine}; {versions}; {circumstances['date']}"


def mosquitto_version(executable: str, folder: Path) -> str:
    """Ask the mosquitto that the tests have started."""
    if not executable:
        return "not started"
    try:
        usage = subprocess.run(
            [executable, "-h"], cwd=folder, capture_output=True, text=True, timeout=5
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return usage.partition("\n")[0].replace("mosquitto version", "").strip() or "unknown"
