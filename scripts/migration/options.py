"""The ways to use the modules: what each takes, imports and defines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .copies import FUTURES_ALONE, files_of
from .findings.connections import REDIRECT

EVERY_CLIENT = '''
@pytest.fixture(scope="session", autouse=True)
def every_client(prompt_mqtt_clients):  # noqa: F811
    """End network loops at once, and the clients that tests leave running."""
'''


@dataclass(frozen=True)
class Import:
    """An import from one of our modules."""

    module: str
    names: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    """What is imported unless the conftest.py has its own: ours is called in any case."""
    is_used: bool = False
    """Whether conftest.py uses the names itself, so that no linter takes the import for unused."""


@dataclass(frozen=True)
class Option:
    """One way to use the modules."""

    modules: tuple[str, ...]
    """The plain modules that it takes; those that are doors take the folder behind them, too."""
    imports: tuple[Import, ...]
    fixture: str
    """The fixture that shows whether the option is in effect."""
    source: str
    """The module that it comes from where the option is in effect."""
    serves: str
    """Which tests it is for, for a message that there are none."""
    needs_fixture: bool = False
    """Whether it is only of use to tests that ask for that fixture."""
    definitions: str = ""
    more_imports: tuple[str, ...] = ()
    """The imports that the definitions need, from elsewhere."""
    redirection: str = ""
    """The call that leads connections to our broker, where it needs one."""
    ports: frozenset[int] = frozenset()
    """Those that it leads in any case: of brokers that are replaced."""
    remarks: tuple[str, ...] = ()
    """What is left to do by hand."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What is copied into the folder of tests, relative to it."""
        return files_of(self.modules)

    @property
    def is_service(self) -> bool:
        """Whether it is the fixture of a service by which it is in effect."""
        return self.source == SERVICE_SOURCE


SERVICE_SOURCE = "services.fixture"
"""Where fixtures of `service_fixture()` come from, in our folder."""
FUTURES = Import("concurrent_futures_fix", ("fix_concurrent_futures",))
SERVICE_MODULES = (
    "mqtt_test_broker",
    "shared_mqtt_pool",
    "concurrent_futures_fix",
    "optimized_service_fixture",
)

OPTIONS = {
    1: Option(
        modules=(*SERVICE_MODULES, "camera_detector_optimized_fixture"),
        imports=(
            Import(
                "camera_detector_optimized_fixture",
                ("camera_detector_fast",),
                hooks=("pytest_sessionfinish",),
            ),
            FUTURES,
        ),
        fixture="camera_detector",
        source=SERVICE_SOURCE,
        serves="tests that use a fixture camera_detector",
        needs_fixture=True,
    ),
    2: Option(
        modules=FUTURES_ALONE,
        imports=(FUTURES,),
        fixture="fix_concurrent_futures",
        source="concurrent_futures_fix",
        serves="all tests",
    ),
    3: Option(
        modules=("mqtt_test_broker", "shared_mqtt_pool"),
        imports=(
            Import("mqtt_test_broker", ("session_mqtt_broker",)),
            Import("shared_mqtt_pool", ("prompt_mqtt_clients", REDIRECT)),
        ),
        fixture="prompt_mqtt_clients",
        source="clients.plugin",
        serves="all tests",
        definitions=EVERY_CLIENT,
        redirection=f"{REDIRECT}()",
    ),
}
