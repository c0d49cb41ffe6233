"""The plan's snippets as printed, in repositories that have just what they import."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.drop_in import ALL_MODULES, SLOW_FIXTURE, Repository

pytestmark = pytest.mark.usefixtures("few_plugins")

OPTION_1 = """
    # Import the optimized fixture
    from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish

    # Rename the old fixture and use the fast one
    import tests.test_detect
    tests.test_detect.camera_detector = camera_detector_fast
"""

OPTION_2 = """
    # Just fix the executor errors
    from concurrent_futures_fix import fix_concurrent_futures
    # The fixture will auto-apply due to autouse=True
"""

STEP_1 = """
    import pytest
    from mqtt_test_broker import TestMQTTBroker

    # Import optimizations
    from camera_detector_optimized_fixture import (
        camera_detector_fast,
        pytest_sessionfinish
    )
    from concurrent_futures_fix import fix_concurrent_futures

    # Existing fixtures...

    # Override the slow fixture
    @pytest.fixture
    def camera_detector(test_mqtt_broker, network_mocks, mock_onvif, config, monkeypatch):
        \"""Use optimized fixture instead\"""
        return camera_detector_fast(
            test_mqtt_broker, network_mocks, mock_onvif, config, monkeypatch
        )
"""

STEP_2 = """
    def test_discovery(camera_detector):
        camera_detector.test_run_discovery_once()  # Explicit discovery
        assert len(camera_detector.cameras) > 0
"""

ADVANCED = """
    from unittest.mock import MagicMock

    import pytest

    @pytest.fixture
    def ultra_fast_detector(shared_mqtt_pool):
        \"""Even faster - no real CameraDetector at all\"""
        detector = MagicMock()
        detector.cameras = {}
        detector.mqtt_connected = True
        # Add only what your test needs
        yield detector
"""


def test_option_1_without_a_tests_package(pytester):
    # `python -m pytest` finds a module tests.test_detect, but it is not the one pytest collects.
    repository = Repository(pytester, ALL_MODULES).write("tests/conftest.py", OPTION_1)
    repository.write("tests/test_detect.py", SLOW_FIXTURE + STEP_2)
    result = repository.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*tests.test_detect.camera_detector = ...`*Delete*"])


def test_option_1_without_a_tests_package_and_without_the_folder_on_the_path(pytester, monkeypatch):
    repository = Repository(pytester, ALL_MODULES).write("tests/conftest.py", OPTION_1)
    repository.write("tests/test_detect.py", SLOW_FIXTURE + STEP_2)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    command = [str(Path(sys.executable).with_name("pytest")), "-p", "no:cacheprovider"]
    result = subprocess.run(
        command, cwd=pytester.path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "No module named 'tests" in result.stderr
    assert "delete `import tests.test_detect`" in result.stderr


def test_option_1_in_a_tests_package_with_the_dot(pytester):
    dotted = OPTION_1.replace("from camera_detector", "from .camera_detector")
    repository = Repository(pytester, ALL_MODULES, package=True)
    repository.write("tests/conftest.py", dotted)
    repository.write("tests/test_detect.py", SLOW_FIXTURE + STEP_2)
    result = repository.run()
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("package", [False, True])
def test_option_2(pytester, package):
    repository = Repository(pytester, ["concurrent_futures_fix"], package=package)
    text = OPTION_2.replace("from conc", "from .conc") if package else OPTION_2
    repository.write("tests/conftest.py", text)
    repository.write(
        "tests/test_it.py",
        """
        import threading
        from concurrent.futures import ThreadPoolExecutor

        executor = ThreadPoolExecutor(1)

        def submit_for_ever():
            while True:
                executor.submit(int)

        def test_submissions_until_the_end():
            threading.Thread(target=submit_for_ever).start()
        """,
    )
    result = repository.run()
    result.assert_outcomes(passed=1)
    assert result.stderr.str() == ""
    result.stdout.fnmatch_lines(["*late submissions*", "* x int, submitted at *test_it.py:*"])


def test_step_1_with_the_slow_fixture_in_the_test_module(pytester):
    repository = Repository(pytester, ALL_MODULES).write("tests/conftest.py", STEP_1)
    repository.write("tests/test_detect.py", SLOW_FIXTURE + STEP_2)
    result = repository.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*conftest.py:*a fixture cannot be called*Delete it*"])


def test_step_1_with_the_slow_fixture_replaced_in_conftest(pytester):
    existing = """
    @pytest.fixture
    def network_mocks(): pass
    @pytest.fixture
    def mock_onvif(): pass
    @pytest.fixture
    def config(): pass
    """
    repository = Repository(pytester, ALL_MODULES).write("tests/conftest.py", STEP_1 + existing)
    repository.write("tests/test_detect.py", "from service import CameraDetector\n\n")
    with (repository.tests / "test_detect.py").open("a") as file:
        file.write("def test_it(camera_detector):\n    assert camera_detector.mqtt_connected\n")
    result = repository.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*conftest.py:*a fixture cannot be called*Delete it*"])


def test_calling_the_fixture_under_another_name_says_what_to_write(pytester):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("tests/conftest.py", STEP_1.replace("def camera_detector(", "def detector("))
    repository.write(
        "tests/test_detect.py",
        """
        import pytest
        from service import CameraDetector

        @pytest.fixture
        def network_mocks(): pass
        @pytest.fixture
        def mock_onvif(): pass
        @pytest.fixture
        def config(): pass

        def test_it(detector): pass
        """,
    )
    result = repository.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*def camera_detector(camera_detector_fast)*"])


def test_step_2_fails_as_the_plan_says_where_the_old_fixture_is_in_use(pytester, monkeypatch):
    monkeypatch.setenv("CAMERA_DETECTOR_FIXTURE", "original")
    repository = Repository(pytester, ALL_MODULES)
    repository.write(
        "tests/conftest.py",
        "from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish",
    )
    slow = SLOW_FIXTURE.replace(
        'raise AssertionError("the slow fixture was used")',
        "return CameraDetector.__new__(CameraDetector)",
    )
    repository.write("tests/test_detect.py", slow + STEP_2)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*'CameraDetector' object has no attribute 'test_run_discovery_once'*",
            "*Ensure conftest.py imports the optimized fixture*",
        ]
    )


@pytest.mark.parametrize("defined_in", ["conftest.py", "test_it.py"])
def test_advanced_custom_fixture(pytester, defined_in):
    repository = Repository(pytester, ALL_MODULES)
    imports = "from shared_mqtt_pool import shared_mqtt_pool\n"
    test = """
    def test_it(ultra_fast_detector):
        assert ultra_fast_detector.mqtt_connected
        assert ultra_fast_detector.cameras == {}
    """
    if defined_in == "conftest.py":
        repository.write("tests/conftest.py", "    " + imports + ADVANCED)
        repository.write("tests/test_it.py", test)
    else:
        repository.write("tests/conftest.py", imports)
        repository.write("tests/test_it.py", ADVANCED + test)
    repository.run("-W", "error").assert_outcomes(passed=1)
