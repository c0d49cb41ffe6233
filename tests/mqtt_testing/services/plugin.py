"""The hooks of services and of their overrides."""

from __future__ import annotations

from ..executors import futures_fix
from .class_lookup import class_fixture
from .current_loop import pytest_collection_modifyitems
from .fixture import ServiceFixtureError, Usual, service_fixture
from .override import (
    override_fixture,
    pytest_collectstart,
    pytest_generate_tests,
    pytest_itemcollected,
    pytest_runtest_setup,
    pytest_sessionfinish,
)
from .remedies import pytest_runtest_makereport, remind_of_task
from .wiring import pytest_addhooks, pytest_unconfigure

__all__ = [
    "ServiceFixtureError",
    "Usual",
    "class_fixture",
    "futures_fix",
    "override_fixture",
    "pytest_addhooks",
    "pytest_collection_modifyitems",
    "pytest_collectstart",
    "pytest_generate_tests",
    "pytest_itemcollected",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_sessionfinish",
    "pytest_unconfigure",
    "remind_of_task",
    "service_fixture",
]
