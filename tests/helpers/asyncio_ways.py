"""The ways in which suites run async tests: plugins, modes, scopes of the event loop."""

from __future__ import annotations

from importlib.metadata import version
from textwrap import dedent
from typing import NamedTuple

import pytest

from .drop_in import TESTS, Repository

__all__ = ["TESTS", "WAYS", "Way", "each_way"]

MODULES = ("mqtt_test_broker", "shared_mqtt_pool", "concurrent_futures_fix")


class Way(NamedTuple):
    """A plugin and its settings."""

    plugin: str
    settings: str
    mark: str

    def run(
        self,
        pytester: pytest.Pytester,
        tests: str,
        *arguments: str,
        conftest: str = "",
        timeout: float = 60,
    ) -> pytest.RunResult:
        """Run async *tests* in a repository that has the fixtures of clients."""
        repository = self.prepare(pytester, conftest)
        head = f"import asyncio, pytest\npytestmark = {self.mark}\n"
        (repository.tests / "test_it.py").write_text(head + dedent(tests))
        return repository.run("-p", self.plugin, *arguments, timeout=timeout)

    def prepare(self, pytester: pytest.Pytester, conftest: str) -> Repository:
        """Make that repository, which has no tests yet."""
        repository = Repository(pytester, (*MODULES, "optimized_service_fixture"))
        repository.write("tests/conftest.py", CONFTEST + conftest)
        repository.write("pytest.ini", SETTINGS + dedent(self.settings))
        return repository


SETTINGS = """
[pytest]
filterwarnings =
    error
    ignore:The test .* is marked with:pytest.PytestWarning
    ignore:Unknown config option. asyncio_default_:pytest.PytestConfigWarning
"""

CONFTEST = """\
import pytest
import shared_mqtt_pool

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

# Before pytest-asyncio 0.26 no setting tells what loop a test runs in, so a mark has to.
HAS_DEFAULT_SCOPE = [int(n) for n in version("pytest-asyncio").split(".")[:2]] >= [0, 26]

_LOOPS = """
    asyncio_mode = {0}
    asyncio_default_test_loop_scope = {1}
    asyncio_default_fixture_loop_scope = {1}
"""


def _mark(scope: str) -> str:
    return "pytest.mark.asyncio" + ("" if scope == "function" else f"(loop_scope={scope!r})")


WAYS = {
    "anyio": Way("anyio.pytest_plugin", "", "pytest.mark.anyio"),
    **{
        f"{mode}-{scope}": Way(
            "pytest_asyncio.plugin",
            _LOOPS.format(mode, scope),
            "[]" if mode == "auto" and HAS_DEFAULT_SCOPE else _mark(scope),
        )
        for mode in ("strict", "auto")
        for scope in ("function", "module", "session")
    },
}
# Mode and scope are independent, and each is among the other ways; test_every_way.py has them all.
_PAIRS = {"strict-module", "auto-session"}
each_way = pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, id=name, marks=[pytest.mark.slow] if name in _PAIRS else [])
        for name, way in WAYS.items()
    ],
)
