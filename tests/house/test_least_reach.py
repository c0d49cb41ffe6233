"""A run changes in its process what the kit's list says, when it says so, and nothing else."""

import json
import sys
from textwrap import dedent

import pytest
from helpers.drop_in import ALL_MODULES, KIT, Repository
from mqtt_testing import REPLACED

pytestmark = pytest.mark.usefixtures("few_plugins")

# A program that calls pytest, and looks at itself before the import, in each test, and afterwards.
PROGRAM = """
    import asyncio.runners, concurrent.futures.process, concurrent.futures.thread
    import json, logging, multiprocessing.pool, signal, socket, subprocess, sys, threading, time
    import paho.mqtt.client
    import pytest
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor  # made on demand

    WATCHED = (
        "asyncio.runners", "concurrent.futures", "concurrent.futures.process",
        "concurrent.futures.thread", "logging", "multiprocessing", "multiprocessing.pool",
        "paho.mqtt.client", "signal", "socket", "subprocess", "threading", "time",
    )
    # What changes by itself: counters, and what is there of threads and handlers.
    VOLATILE = {
        "threading._active", "threading._limbo", "threading._dangling", "threading._counter",
        "threading._shutdown_locks", "logging._handlers", "logging._handlerList",
    }

    def look():
        seen = {}
        for name in WATCHED:
            for key, value in vars(sys.modules[name]).items():
                seen[f"{name}.{key}"] = value
                if isinstance(value, type) and value.__module__ == name:
                    seen.update({f"{name}.{key}.{k}": v for k, v in vars(value).items()})
        seen.update({f"handler of {n}": signal.getsignal(n) for n in signal.valid_signals()})
        finders = [type(finder).__module__ for finder in sys.meta_path]
        seen["sys.meta_path"] = any("mqtt_testing" in name for name in finders)
        seen["sys.excepthook"] = sys.excepthook
        return seen

    def changed():
        now = look()
        names = {n for n in {*before, *now} if before.get(n, look) is not now.get(n, look)}
        return sorted(names - VOLATILE)

    class Looking:
        @pytest.hookimpl(trylast=True)
        def pytest_runtest_call(self, item):
            found[item.name] = changed()

    before, found = look(), {}
    # pytest itself replaces threading.excepthook.
    options = ["-p", "no:cacheprovider", "-p", "no:threadexception"]
    status = pytest.main(options, [Looking()])
    found["after"] = changed()
    print("FOUND", json.dumps(found))
    sys.exit(status)
"""

CONFTEST = """
    from camera_detector_optimized_fixture import camera_detector_fast
    from optimized_service_fixture import service_fixture
    from service import CameraDetector
    from shared_mqtt_pool import redirect_to_test_broker

    fast_service = service_fixture(CameraDetector)
"""

# Each in a run of its own, since a session's pool stays for all that come after it.
TESTS = {
    "nothing": "def test_it(): pass",
    "broker": "def test_it(test_mqtt_broker, isolated_mqtt_broker): pass",
    "client": "def test_it(mqtt_client, mqtt_monitor, mqtt_topic_factory): pass",
    "prompt": "def test_it(prompt_mqtt_clients): pass",
    "redirected": "def test_it(redirected_mqtt_clients): pass",
    "redirected from conftest on": "def test_it(): pass",
    "service": "def test_it(fast_service): pass\ndef test_later(): pass",
    "camera": "def test_it(camera_detector_fast): pass",
}

LISTED = {name: entry for entry in REPLACED for name in entry.names.split()}
EXECUTORS = {name for name in LISTED if name.startswith("concurrent.futures.")}
PAHO = {name for name in LISTED if name.startswith(("asyncio.", "paho."))} | {"sys.meta_path"}
ASYNCIO = {name for name in LISTED if name.startswith("asyncio.")}
SOCKETS = {name for name in LISTED if name.startswith("socket.")}
SERVICES = {name for name, entry in LISTED.items() if "service_fixture lives" in entry.when}


def changes_in_a_run(pytester: pytest.Pytester) -> dict[str, set[str]]:
    """Run the tests in a program that looks at itself; return what has changed, by test."""
    pytester.makepyfile(program=PROGRAM)
    result = pytester.run(sys.executable, "program.py", timeout=60)
    assert result.ret == 0, result.stdout.str()
    [line] = [line for line in result.outlines if line.startswith("FOUND ")]
    found = json.loads(line.removeprefix("FOUND "))
    return {test: set(names) for test, names in found.items()}


@pytest.mark.parametrize("kind", TESTS)
def test_the_list_says_what_is_replaced(pytester, kind):
    repository = Repository(pytester, ALL_MODULES)
    redirected = "redirect_to_test_broker()" if "conftest" in kind else ""
    repository.write("tests/conftest.py", f"{dedent(CONFTEST)}\n{redirected}")
    repository.write("tests/test_it.py", TESTS[kind])
    found = changes_in_a_run(pytester)
    expected = {
        "nothing": EXECUTORS,
        "broker": EXECUTORS,
        "client": EXECUTORS | PAHO,
        "prompt": EXECUTORS | PAHO - ASYNCIO,
        "redirected": EXECUTORS | PAHO - ASYNCIO | SOCKETS,
        "redirected from conftest on": EXECUTORS | PAHO - ASYNCIO | SOCKETS,
        "service": EXECUTORS | PAHO | SERVICES,
        "camera": EXECUTORS | PAHO | SERVICES,
    }[kind]
    # The camera detector's door has its finder there from its import on.
    assert found["test_it"] == expected | {"sys.meta_path"}
    assert found.get("test_later", set()) <= EXECUTORS | PAHO
    assert found["after"] == set()


def test_option_2_alone_replaces_the_constructors_of_executors(pytester):
    repository = Repository(pytester, ["concurrent_futures_fix"])
    wiring = "from concurrent_futures_fix import fix_concurrent_futures"
    repository.write("tests/conftest.py", wiring)
    repository.write("tests/test_it.py", "def test_it(): pass")
    found = changes_in_a_run(pytester)
    assert found == {"test_it": EXECUTORS, "after": set()}


@pytest.mark.parametrize(("kind", "hooks"), [("", 0), ("async ", 2)])
def test_only_async_tests_have_hooks_around_each_fixture(pytester, kind, hooks):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("tests/conftest.py", CONFTEST)
    repository.write(
        "tests/test_it.py",
        f"""
        import pytest

        def test_it(request):
            around = request.config.hook.pytest_fixture_setup.get_hookimpls()
            ours = [hook for hook in around if "mqtt_testing" in hook.function.__module__]
            assert len(ours) == {hooks}

        @pytest.mark.skip
        {kind}def test_other(): pass
        """,
    )
    repository.run().assert_outcomes(passed=1, skipped=1)


def test_importing_a_room_changes_nothing(pytester):
    repository = Repository(pytester, ALL_MODULES)
    kit = repository.tests / "mqtt_testing"
    rooms = [path.relative_to(repository.tests) for path in kit.rglob("*.py")]
    names = sorted({str(room.with_suffix("")).replace("/", ".") for room in rooms})
    imports = "\n".join(f"import {name.removesuffix('.__init__')}" for name in names)
    repository.write("tests/conftest.py", "")
    repository.write("tests/test_it.py", f"{imports}\ndef test_it(): pass")
    assert changes_in_a_run(pytester) == {"test_it": set(), "after": set()}


def test_every_file_that_the_list_names_is_there():
    files = {file for entry in REPLACED for file in entry.by.split(", ")}
    assert {f for f in files if not (KIT / f).exists() and not (KIT.parent / f).exists()} == set()
