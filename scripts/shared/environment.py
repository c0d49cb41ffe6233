"""The environment that `make setup` makes, for commands that any Python may have started."""

from __future__ import annotations

import importlib.util
import os
import sys

from .paths import ROOT

ENVIRONMENT = ROOT / ".venv"


def require(package: str, *words: str) -> None:
    """Go on in our environment, with *words* before the others, where this one lacks a package."""
    if importlib.util.find_spec(package) is not None:
        return
    python = str(ENVIRONMENT / "bin" / "python")
    if sys.prefix == str(ENVIRONMENT) or not os.access(python, os.X_OK):
        print(f"{sys.argv[0]}: {package} is missing: run `make setup`", file=sys.stderr)
        sys.exit(2)
    os.execv(python, [python, sys.argv[0], *words, *sys.argv[1:]])
