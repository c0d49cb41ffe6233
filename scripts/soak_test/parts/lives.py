"""Services composed at random, which live and end."""

from __future__ import annotations

from collections.abc import Iterator

from shared.paths import ROOT

from ..figures import FailedError, Figure, told
from ..workspace import Workspace

TEST = "tests/services/test_composed_lives.py"

SUITES, SERVICES = 84, 12

PATIENCE = 40.0
"""Seconds for each of the suites."""


def lives(workspace: Workspace) -> Iterator[Figure]:
    """Let a thousand services live and end, with any threads, processes, clients, and cleanups."""
    suites = workspace.of(SUITES)
    settings = {"MQTT_COMPOSED_SUITES": str(suites), "MQTT_COMPOSED_SEED": str(workspace.seed)}
    with workspace.pytest(ROOT, TEST, environment=settings) as process:
        if not process.ends_within(suites * PATIENCE):
            raise FailedError(f"{suites} suites had not ended after {suites * PATIENCE:g} s")
        status = process.status
    again = " ".join(f"{name}={value}" for name, value in settings.items())
    if status != 0:
        raise FailedError(f"pytest ended with {status}; to see it: {again} pytest {TEST}")
    yield told("composed services that lived and ended", suites * SERVICES)
