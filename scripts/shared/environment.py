"""The environment that `make setup` makes, for commands that any Python may have started."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

from .paths import ROOT

ENVIRONMENT = ROOT / ".venv"


def require(packages: Sequence[str], *words: str) -> None:
    """Go on in our environment, with *words* before the others, where this one lacks a package."""
    lacking = [package for package in packages if importlib.util.find_spec(package) is None]
    if not lacking:
        return
    python = str(ENVIRONMENT / "bin" / "python")
    if sys.prefix == str(ENVIRONMENT) or not os.access(python, os.X_OK):
        print(f"{sys.argv[0]}: {lacking[0]} is missing: run `make setup`", file=sys.stderr)
        sys.exit(2)
    os.execv(python, [python, sys.argv[0], *words, *sys.argv[1:]])
