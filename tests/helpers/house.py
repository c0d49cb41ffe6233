"""The files that users copy, for tests that read them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
KIT = TESTS / "mqtt_testing"
ROOMS = sorted(KIT.rglob("*.py"))
DOORS = (
    "mqtt_test_broker",
    "shared_mqtt_pool",
    "optimized_service_fixture",
    "camera_detector_optimized_fixture",
)
COPIED = [*ROOMS, *(TESTS / f"{name}.py" for name in (*DOORS, "concurrent_futures_fix"))]


def name_of(path: Path) -> str:
    """Return the path of a file relative to the folder, or to where the doors are."""
    return str(path.relative_to(KIT if KIT in path.parents else TESTS))


def each(paths: Iterable[Path]) -> pytest.MarkDecorator:
    """Run a test with each of some files."""
    return pytest.mark.parametrize("path", paths, ids=name_of)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())
