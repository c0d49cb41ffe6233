"""The hooks of services and of their overrides."""

from __future__ import annotations

from ..executors import futures_fix
from .errors import ServiceFixtureError
from .fixture import service_fixture
from .override import (
    override_fixture,
    pytest_collectstart,
    pytest_runtest_makereport,
    pytest_sessionfinish,
)

__all__ = [
    "ServiceFixtureError",
    "futures_fix",
    "override_fixture",
    "pytest_collectstart",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "service_fixture",
]
