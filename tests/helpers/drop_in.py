"""Throw-away repositories of users who copy the modules, as pytester makes and runs them."""

from __future__ import annotations

import atexit
import compileall
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent

import pytest

from . import warm_python

TESTS = Path(__file__).resolve().parent.parent
KIT = TESTS / "mqtt_testing"

ALL_MODULES = (
    "mqtt_test_broker",
    "shared_mqtt_pool",
    "concurrent_futures_fix",
    "optimized_service_fixture",
    "camera_detector_optimized_fixture",
)

CAMERA_SERVICE = """
    import os
    import threading
    import time

    import paho.mqtt.client as mqtt


    def new_client(client_id):
        if hasattr(mqtt, "CallbackAPIVersion"):
            return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id)
        return mqtt.Client(client_id)


    class CameraDetector:
        def __init__(self):
            self.cameras = {}
            self._running = True
            self.mqtt_connected = False
            self._connack = threading.Event()
            self.mqtt_client = new_client("camera-detector")
            self.mqtt_client.on_connect = self._on_connect
            self.mqtt_client.connect(
                os.environ.get("MQTT_BROKER", "127.0.0.1"), int(os.environ.get("MQTT_PORT", 1883))
            )
            self.mqtt_client.loop_start()
            assert self._connack.wait(5)
            self._thread = threading.Thread(target=self._discovery_loop)
            self._thread.start()

        def _on_connect(self, *args):
            self.mqtt_connected = True
            self._connack.set()

        def _discovery_loop(self):
            while self._running:
                self._run_full_discovery()
                time.sleep(1)

        def _run_full_discovery(self):
            if not self._running:
                return
            self.cameras["1"] = "found"
            self.mqtt_client.publish("camera/discovery", "1", qos=1, retain=True)

        def cleanup(self):
            self._running = False
            self._thread.join()
            self.mqtt_client.loop_stop()
            self.mqtt_client.disconnect()
"""

SLOW_FIXTURE = """
    import pytest
    from service import CameraDetector


    @pytest.fixture
    def camera_detector():
        raise AssertionError("the slow fixture was used")
"""


class Repository:
    """A repository with a service and a tests/ folder that has some of the modules."""

    def __init__(
        self,
        pytester: pytest.Pytester,
        modules: Iterable[str],
        *,
        package: bool = False,
        warm: bool = True,
    ) -> None:
        self._pytester, self._warm = pytester, warm
        self.tests = pytester.mkpydir("tests") if package else pytester.mkdir("tests")
        copy_modules(modules, self.tests, copy=_link)
        self.write("service.py", CAMERA_SERVICE)

    def write(self, path: str, text: str) -> Repository:
        """Write a file, its text dedented; of those that are linked, it is another one then."""
        file = self._pytester.path / path
        file.unlink(missing_ok=True)
        file.write_text(dedent(text))
        return self

    def run(self, *arguments: str, timeout: float = 60) -> pytest.RunResult:
        """Run ``python -m pytest`` in the repository, for *timeout* seconds at most."""
        arguments = ("-p", "no:cacheprovider", *arguments)
        if self._warm and warm_python.can_run_here():
            return warm_python.run_pytest(self._pytester.path, *arguments, timeout=timeout)
        return self._pytester.run(sys.executable, "-m", "pytest", *arguments, timeout=timeout)


def copied_files(modules: Iterable[str]) -> set[str]:
    """Return what a user of *modules* copies, relative to the folder of tests."""
    files = {f"{module}.py" for module in modules}
    if files != {"concurrent_futures_fix.py"}:
        ours = [path for path in KIT.rglob("*") if path.suffix in (".py", ".toml")]
        files |= {path.relative_to(TESTS).as_posix() for path in ours}
    return files


def copy_modules(
    modules: Iterable[str], tests: Path, *, copy: Callable[[str, str], object] = shutil.copy2
) -> None:
    """Copy doors into a folder of tests, and the folder that is behind them."""
    modules = set(modules)
    left_out = [f"{module}.*" for module in {*ALL_MODULES} - modules]
    if modules <= {"concurrent_futures_fix"}:
        left_out.append(KIT.name)
    ignored = shutil.ignore_patterns(*left_out)
    shutil.copytree(_compiled(), tests, ignore=ignored, copy_function=copy, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """Link a file, as to copy all of them takes as long as a short run."""
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@functools.cache
def _compiled() -> Path:
    """Return a copy of all that users copy, compiled, once for all runs of a session."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(KIT, folder / KIT.name, ignore=ignored)
    for module in ALL_MODULES:
        shutil.copy2(TESTS / f"{module}.py", folder)
    compileall.compile_dir(folder, quiet=1)
    return folder


def assert_nothing_left(result: pytest.RunResult, *, passed: int) -> None:
    """Check that so many tests have passed, and that none is named for what it left."""
    result.assert_outcomes(passed=passed)
    for left in ("*left behind*", "*left running*"):
        result.stdout.no_fnmatch_line(left)


def assert_green_and_silent(result: pytest.RunResult, passed: int) -> None:
    """Check that so many tests have passed, that nothing failed, and that stderr has nothing."""
    result.assert_outcomes(passed=passed)
    assert result.ret == 0
    assert result.stderr.str() == ""


@pytest.fixture
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plugins that happen to be installed: what a run loads is up to the test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
