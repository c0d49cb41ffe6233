"""Repositories of others, as unlike each other as can be, that `migrate.py` wires and compares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mqtt_testing.broker.binary import find_mosquitto

from helpers.migrating_user import User

ADOPTED = Path(__file__).resolve().parent / "adopted"


def adopted(root: Path, name: str, port: int) -> User:
    """Copy a repository, and commit it there."""
    user = User(root)
    shutil.rmtree(root / "tests")
    (root / "service.py").unlink()
    for path in sorted((ADOPTED / name).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            text = path.read_text().replace("HARD_PORT", str(port))
            user.write(str(path.relative_to(ADOPTED / name)), text)
    user.write(".gitignore", "__pycache__/\n")
    user.env["PATH"] += os.pathsep + str(Path(find_mosquitto()).parent)
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        user.git(*words)
    return user
