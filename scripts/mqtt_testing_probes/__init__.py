"""What looks into the process that runs a user's tests, for more than one command.

A copy of this folder is put on that process's path, by a name that no repository has; so it needs
nothing else.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_to(folder: Path) -> None:
    """Copy this package into a folder, for another Python to find it there."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).parent, folder / __name__, ignore=ignored)
