"""A fast ``camera_detector`` fixture, in place of the slow one, without a change to the tests.

Needs pytest, paho-mqtt and the four modules beside it. In ``tests/conftest.py``::

    from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish

That is all: wherever a fixture ``camera_detector`` is defined, in a test module, a class or a
conftest.py, ``camera_detector_fast`` takes its place. The detector is a real one on a real
broker, but discovery and health checks run when a test says so::

    def test_discovery(camera_detector):
        camera_detector.test_run_discovery_once()
        assert len(camera_detector.cameras) > 0

With ``CAMERA_DETECTOR_FIXTURE=original`` in the environment nothing is overridden, so that the
two can be compared on the same tree.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

if TYPE_CHECKING or not __package__:
    from mqtt_testing.executors import futures_fix
    from mqtt_testing.registration import register
    from mqtt_testing.services import override as service_module
    from mqtt_testing.services.fixture import service_fixture
    from mqtt_testing.services.lifetime import services_of_test
    from mqtt_testing.services.override import function_of, override_fixture, replaced_fixture
    from mqtt_testing.summary import add_to_summary
else:
    from .mqtt_testing.executors import futures_fix
    from .mqtt_testing.registration import register
    from .mqtt_testing.services import override as service_module
    from .mqtt_testing.services.fixture import service_fixture
    from .mqtt_testing.services.lifetime import services_of_test
    from .mqtt_testing.services.override import function_of, override_fixture, replaced_fixture
    from .mqtt_testing.summary import add_to_summary

OVERRIDDEN = "camera_detector"
CLASS_NAME = "CameraDetector"
USUAL_MODULES = ("camera_detector.detect", "camera_detector", "detect")
DISCOVERY = "test_run_discovery_once"

camera_detector_fast = service_fixture(
    "camera_detector_class",
    requires=("config", "network_mocks", "mock_onvif"),
    tasks={
        DISCOVERY: (
            "_run_full_discovery",
            "run_full_discovery",
            "_run_discovery",
            "run_discovery",
            "_discover_cameras",
            "discover_cameras",
        ),
        "test_run_health_check_once": (
            "_run_health_check",
            "run_health_check",
            "_check_camera_health",
            "_health_check",
            "check_health",
            "_publish_health",
        ),
    },
)


@pytest.fixture
def ultra_fast_detector() -> MagicMock:
    """No CameraDetector at all: for tests of what merely uses one. Override it as you need."""
    detector = MagicMock()
    detector.cameras = {}
    detector.mqtt_connected = True
    return detector


# --- Which CameraDetector ---------------------------------------------------------------------


@pytest.fixture
def camera_detector_class(request: pytest.FixtureRequest) -> type:
    """The class under test, as the test module sees it; override it where it is not found.

    A service that is importable under two names exists twice, and what the tests patch is the
    class that they import: that one is meant. Next comes what the slow fixture saw.
    """
    found = (
        _class_seen_in(vars(request.module))
        or _class_seen_in(_globals_of_slow_fixture(request))
        or _only_class([_class_in(module) for module in list(sys.modules.values())])
        or _only_class([_class_in(_import_if_there(name)) for name in USUAL_MODULES])
    )
    if found is None:
        pytest.fail(_NOT_FOUND, pytrace=False)
    return found


_NOT_FOUND = f"""\
No class {CLASS_NAME} was found: the test module does not import it, and neither does anything \
else. Say where it is, in conftest.py:

    @pytest.fixture
    def camera_detector_class():
        from your_package.your_module import {CLASS_NAME}
        return {CLASS_NAME}"""


def _class_seen_in(namespace: Mapping[str, Any]) -> type | None:
    """Return the class that a module has imported, by itself or with the module it is in."""
    return _class_of(namespace) or _only_class([_class_in(value) for value in namespace.values()])


def _class_of(namespace: Mapping[str, Any]) -> type | None:
    value = namespace.get(CLASS_NAME)
    return value if isinstance(value, type) else None


def _class_in(candidate: object) -> type | None:
    return _class_of(vars(candidate)) if isinstance(candidate, ModuleType) else None


def _globals_of_slow_fixture(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    module = request.node.getparent(pytest.Module)
    slow = replaced_fixture(OVERRIDDEN, module) if module else None
    return {} if slow is None else getattr(inspect.unwrap(function_of(slow)), "__globals__", {})


def _only_class(candidates: Sequence[type | None]) -> type | None:
    classes = list(dict.fromkeys(c for c in candidates if c is not None))
    if len(classes) > 1:
        names = ", ".join(f"{c.__module__}.{c.__qualname__}" for c in classes)
        pytest.fail(
            f"There are several classes {CLASS_NAME}: {names}. Import the one that is meant in "
            "the test module, or override the fixture camera_detector_class to return it.",
            pytrace=False,
        )
    return classes[0] if classes else None


def _import_if_there(name: str) -> ModuleType | None:
    parent = name.rpartition(".")[0]
    if parent and importlib.util.find_spec(parent) is None:
        return None
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


# --- The override -----------------------------------------------------------------------------


def optimize_camera_detector_fixture() -> None:
    """Ask for the override, as the import of this module does already."""
    override_fixture(OVERRIDDEN, camera_detector_fast)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Override the slow fixture in a test module; a conftest.py may import it, but need not."""
    service_module.pytest_collectstart(collector)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say so where the override did not take, or where wiring is left that does nothing."""
    service_module.pytest_sessionfinish(session)
    for line in _useless_wiring():
        add_to_summary("fixture overrides", line)


def _useless_wiring() -> Iterator[str]:
    """Find the lines that people paste into conftest.py and that cannot work in any pytest."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    files = Counter(getattr(module, "__file__", None) for module in modules)
    for module in modules:
        fixture = vars(module).get(OVERRIDDEN)
        code = _code_of(fixture)
        if code is not None and "camera_detector_fast" in code.co_names:
            yield (
                f"{code.co_filename}:{code.co_firstlineno}: a fixture cannot be called like a "
                f"function, so this camera_detector was not used. Delete it: {_ENOUGH}"
            )
        name = module.__name__
        if fixture is camera_detector_fast and "." in name and files[module.__file__] > 1:
            yield (
                f"conftest.py: `{name}.camera_detector = ...` does nothing, since pytest collects "
                f"another module object of that file. Delete it, and `import {name}`: {_ENOUGH}"
            )


def _code_of(fixture: object) -> CodeType | None:
    try:
        return getattr(function_of(fixture), "__code__", None)
    except AttributeError:  # it is no fixture
        return None


_ENOUGH = (
    "importing camera_detector_fast is enough, since it takes the place of every fixture "
    "camera_detector."
)


class _TestsPackageFinder(importlib.abc.MetaPathFinder):
    """Explains why `import tests.test_detect` fails where tests/ is no package.

    It comes last in sys.meta_path, so it is asked only for what nobody else finds.
    """

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Raise for the package `tests`, with what to write instead."""
        if fullname == "tests":
            raise ModuleNotFoundError(
                "No module named 'tests': there is no tests/__init__.py. In conftest.py, delete "
                "`import tests.test_detect` and the assignment to "
                f"`tests.test_detect.camera_detector`: {_ENOUGH}",
                name=fullname,
            )
        return None


# --- Troubleshooting --------------------------------------------------------------------------

_REMEDIES = {
    f"has no attribute '{DISCOVERY}'": (
        "Using old fixture. Ensure conftest.py imports the optimized fixture "
        "(from camera_detector_optimized_fixture import camera_detector_fast, "
        "pytest_sessionfinish), and that CAMERA_DETECTOR_FIXTURE is not set to 'original'."
    ),
    'Fixture "fast_service" called directly': (
        "A fixture cannot be called like a function. Ask for it by name instead: "
        "def camera_detector(camera_detector_fast): return camera_detector_fast. A fixture "
        "camera_detector needs nothing at all: camera_detector_fast takes its place."
    ),
    "cannot schedule new futures after interpreter shutdown": (
        "Ensure concurrent_futures_fix is imported in conftest.py: "
        "from concurrent_futures_fix import fix_concurrent_futures"
    ),
}
_NO_CAMERAS = (
    "No cameras were discovered, and no discovery was run: under this fixture it does not run in "
    f"the background. Change from implicit to explicit: camera_detector.{DISCOVERY}()"
)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the remedy to the report of a test that failed for a reason we know."""
    outcome: Any = yield
    report = outcome.get_result()
    if not report.failed:
        return
    remedies = [remedy for sign, remedy in _REMEDIES.items() if sign in report.longreprtext]
    if "cameras" in report.longreprtext and _waits_for_discovery(item):
        remedies.append(_NO_CAMERAS)
    report.sections += [("what to do", remedy) for remedy in remedies]


def _waits_for_discovery(item: pytest.Item) -> bool:
    return any(
        DISCOVERY in under_test.tasks
        and DISCOVERY not in under_test.tasks_run
        and not getattr(under_test.service, "cameras", True)
        for under_test in item.stash.get(services_of_test, [])
    )


register("broker", "clients", "services", modules=[futures_fix, sys.modules[__name__]])
sys.meta_path.append(_TestsPackageFinder())
optimize_camera_detector_fixture()
