"""The table of neighbours: what else is in a user's process, and must not suffer from us.

A new neighbour is one line. The suite of tests/neighbours/suite runs with each, in an environment
of its own; docs/limits.md says which of them work, and what to do where one does not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NOTHING: Mapping[str, str] = MappingProxyType({})
PASSES: Mapping[str, int] = MappingProxyType({"passed": 9})


class Neighbour(NamedTuple):
    """Something beside which the suite runs, and how it is wired."""

    name: str
    install: str = ""
    """What is installed beside pytest and paho-mqtt."""
    options: str = ""
    """Of pytest."""
    python: str = ""
    """What stands between Python and ``-m pytest``."""
    variables: Mapping[str, str] = NOTHING
    """In the environment."""
    before: str = ""
    """Lines of conftest.py before our imports."""
    after: str = ""
    """Lines after them."""
    around: str = ""
    """A context in which each test is set up, run and torn down."""
    in_test: str = ""
    """A call with which the body of each test begins; ``fixture`` gives a fixture."""
    fixtures: str = ""
    """Fixtures that each test has, set up before ours and torn down after them."""
    tests: str = ""
    """A test module of its own."""
    without: str = ""
    """The tests that it does not let pass even without us, as ``-k`` selects them."""
    outcomes: Mapping[str, int] = PASSES
    excuse: str = ""
    """What does not work, and what to do."""
    shows: str = ""
    """What the user sees then."""
    packages: str = "venv"
    """Where the packages are: venv, target folder, zip, user site, uv's cache."""
    common: bool = False
    """Whether CI runs it, and those in its environment, each time."""


def passes(more: int = 0, **others: int) -> dict[str, int]:
    """Return the outcomes of the suite, and of so many tests more."""
    return {"passed": 9 + more, **others}


SENTRY = "import sentry_sdk; sentry_sdk.init()"  # the threading integration is a default one
OTEL = "opentelemetry-instrumentation-threading opentelemetry-sdk"
INSTRUMENT = (
    "from opentelemetry.instrumentation.threading import ThreadingInstrumentor as T; "
    "T().instrument()"
)
DDTRACE = {"DD_TRACE_ENABLED": "0", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0"}
GEVENT = "from gevent import monkey; monkey.patch_all()"
NO_EVENTLET = "It leaves no way to wait for MQTT. Patch in the process of the service only."
FAKE_FILES = "A broker cannot be started while files are fakes. Use the session's."
EVENTLET = "import eventlet; eventlet.monkey_patch()"
FREEZE = "freezegun.freeze_time('2026-01-01'{})"
DEBUGPY = "import debugpy; debugpy.listen(('127.0.0.1', 0))"
COVERAGE = "-m coverage run --rcfile=coverage.ini"

# The first try of a test kills the broker.
SECOND_TRY = """
import pytest

tries = []

{marker}
def test_twice(mqtt_client, mqtt_monitor, test_mqtt_broker):
    tries.append(1)
    if len(tries) == 1:
        test_mqtt_broker.kill()
        raise AssertionError
    mqtt_client.publish("status", "on")
    mqtt_monitor.wait_for("status")
"""

WORKER_CRASHES = """
import os

def test_a_worker_crashes(test_mqtt_broker):
    os._exit(1)
"""

TIMES_OUT = """
import threading
import pytest

@pytest.mark.timeout(0.5)
def test_times_out(fast_gatehouse):
    threading.Event().wait()
"""

SUBTESTS = """
def test_parts(subtests, mqtt_client, mqtt_monitor):
    for topic in "abc":
        with subtests.test(topic):
            mqtt_client.publish(topic, "on")
            mqtt_monitor.wait_for(topic)
"""

CHECKS = """
def test_checks(check, mqtt_client, mqtt_monitor):
    mqtt_client.publish("status", "on")
    with check:
        assert mqtt_monitor.wait_for("status")
"""

ASYNC = """
import asyncio, pytest

@pytest.mark.{marker}
async def test_async(mqtt_client, mqtt_monitor):
    mqtt_client.publish("status", "on")
    await asyncio.to_thread(mqtt_monitor.wait_for, "status")
"""

EXAMPLES = """
from hypothesis import HealthCheck, given, settings, strategies

@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=strategies.binary(max_size=20))
def test_any_payload(mqtt_client, mqtt_monitor, payload):
    mqtt_monitor.clear()
    mqtt_client.publish("status", payload)
    assert mqtt_monitor.wait_for("status")[0].payload == payload
"""

ORDERED = """
import pytest

@pytest.mark.order("last")
def test_last(mqtt_client):
    pass
"""

# Whatever asks for Docker fails.
NO_DOCKER = "import docker; docker.from_env = docker.DockerClient = None"

CAPTURES = """
import pytest
from pytest_mqtt.model import MqttMessage
from shared_mqtt_pool import settle_mqtt_clients

def test_the_broker_is_ours(mosquitto, session_mqtt_broker):
    assert mosquitto == (session_mqtt_broker.host, session_mqtt_broker.port)

@pytest.mark.parametrize("retain", [True, False])  # the second finds nothing retained
@pytest.mark.capmqtt_decode_utf8
def test_captures(prompt_mqtt_clients, clean_mqtt_broker, mosquitto, capmqtt, retain):
    capmqtt.publish(topic="foo", payload="bar", retain=retain)
    settle_mqtt_clients()
    assert capmqtt.messages == [MqttMessage(topic="foo", payload="bar", userdata=None)]
    assert capmqtt.records == [("foo", "bar", None)]

def test_meets_our_clients(mosquitto, capmqtt, mqtt_client, mqtt_monitor):
    capmqtt.publish("status", "on")
    mqtt_monitor.wait_for("status")
    mqtt_client.publish("status", "off")
    settle_mqtt_clients()
    assert [payload for _, payload, _ in capmqtt.records] == [b"on", b"off"]

def test_kills_the_broker(mosquitto, test_mqtt_broker):
    test_mqtt_broker.kill()

def test_captures_again(mosquitto, capmqtt):
    capmqtt.publish("status", "on", qos=1)
"""

# What of the standard library we use ourselves, and tests replace; and which tests of the suite it
# lets not pass even without us, as a service or its executor needs it.
MOCKED = {
    "os.getpid": "a_count",
    "os.kill": "",
    "pathlib.Path.exists": "",
    "queue.Queue": "",
    "select.select": (
        "a_message or silence or a_command or a_round or an_evening or a_count or a_thread"
    ),
    "shutil.rmtree": "",
    "shutil.which": "",
    "signal.signal": "",
    "socket.socket": "",
    "subprocess.Popen": "",
    "tempfile.mkdtemp": "",
    "threading.Event": "a_command or a_count or a_thread",
    "threading.Thread": "a_command or a_count or a_thread",
    "time.monotonic": "a_count",
    "time.sleep": "",
}

NEIGHBOURS = (
    Neighbour("nothing"),
    # Python and pytest themselves
    Neighbour("`python -X dev`", python="-X dev"),
    Neighbour("`python -W error`", python="-W error", options="-W error"),
    Neighbour("`-p no:threadexception`", options="-p no:threadexception"),
    Neighbour("`--doctest-modules`", options="--doctest-modules"),
    Neighbour("`--import-mode=append`", options="--import-mode=append"),
    Neighbour("`--import-mode=importlib`", options="--import-mode=importlib -o pythonpath=tests"),
    # Where paho-mqtt is
    Neighbour("paho-mqtt in a target folder", packages="target folder", common=True),
    Neighbour("paho-mqtt in a zip", packages="zip"),
    Neighbour("paho-mqtt in the user site", packages="user site"),
    Neighbour("paho-mqtt by `uv run --with`", packages="uv's cache"),
    # Tracers, profilers, debuggers
    Neighbour("sentry-sdk (before our import)", "sentry-sdk", before=SENTRY, common=True),
    Neighbour("sentry-sdk (after our import)", "sentry-sdk", after=SENTRY),
    Neighbour("sentry-sdk (in a test)", "sentry-sdk", in_test=SENTRY),
    Neighbour("opentelemetry (before our import)", OTEL, before=INSTRUMENT),
    Neighbour("opentelemetry (after our import)", OTEL, after=INSTRUMENT),
    Neighbour("ddtrace (`--ddtrace`)", "ddtrace", options="--ddtrace", variables=DDTRACE),
    Neighbour("ddtrace (`auto`)", "ddtrace", before="import ddtrace.auto", variables=DDTRACE),
    Neighbour("ddtrace (`profiling.auto`)", "ddtrace", before="import ddtrace.profiling.auto"),
    Neighbour("debugpy", "debugpy", before=DEBUGPY),
    Neighbour("pytest-cov", "pytest-cov", options="--cov=gatehouse --cov-branch", common=True),
    Neighbour("coverage with concurrency", "coverage", python=COVERAGE),
    # Green threads
    Neighbour("gevent (before our import)", "gevent", before=GEVENT),
    Neighbour(
        "gevent (after our import)",
        "gevent",
        after=GEVENT,
        outcomes={"errors": 9},
        excuse="Call `gevent.monkey.patch_all()` in the first line of conftest.py. Green threads "
        "that a service leaves cannot be ended.",
        shows="gevent.monkey.patch_all() was called after the import of mqtt_testing",
        common=True,
    ),
    Neighbour(
        "eventlet (before our import)",
        "eventlet",
        before=EVENTLET,
        outcomes={"errors": 9},
        excuse=NO_EVENTLET,
        shows="eventlet.monkey_patch() is in force",
    ),
    Neighbour(
        "eventlet (after our import)",
        "eventlet",
        after=EVENTLET,
        outcomes={"errors": 9},
        excuse=NO_EVENTLET,
        shows="eventlet.monkey_patch() is in force",
    ),
    # Clocks, files, sockets and programs that are not the real ones
    Neighbour(
        "freezegun", "freezegun", before="import freezegun", around=FREEZE.format(""), common=True
    ),
    Neighbour(
        "freezegun (ticking)",
        "freezegun",
        before="import freezegun",
        around=FREEZE.format(", tick=True"),
    ),
    Neighbour(
        "freezegun (in a test)",
        "freezegun",
        in_test=f"import freezegun; {FREEZE.format('')}.start()",
    ),
    Neighbour(
        "time-machine",
        "time-machine",
        before="import time_machine",
        around="time_machine.travel(0, tick=False)",
    ),
    Neighbour(
        "time-machine (ticking)",
        "time-machine",
        before="import time_machine",
        around="time_machine.travel(0)",
    ),
    Neighbour(
        "pyfakefs",
        "pyfakefs",
        fixtures="fs",
        without="Service",
        outcomes={"passed": 3, "errors": 1},
        excuse=FAKE_FILES,
        shows="files are fakes here",
    ),
    Neighbour(
        "pyfakefs (in a test)",
        "pyfakefs",
        in_test="fixture('fs')",
        without="a_count",
        outcomes={"passed": 7, "failed": 1},
        excuse=FAKE_FILES,
        shows="files are fakes here",
    ),
    Neighbour(
        "pytest-socket (`--allow-hosts`)", "pytest-socket", options="--allow-hosts=127.0.0.1"
    ),
    Neighbour(
        "pytest-socket (`--disable-socket`)",
        "pytest-socket",
        options="--disable-socket",
        outcomes={"passed": 2, "errors": 7},
        excuse="Clients need sockets: `--allow-hosts=127.0.0.1,::1` instead, or the marker "
        "`enable_socket`.",
        shows="MQTT connection failed: 127.0.0.1:*: A test tried to use socket",
        common=True,
    ),
    Neighbour("pytest-subprocess", "pytest-subprocess", fixtures="fp"),
    Neighbour("pytest-subprocess (in a test)", "pytest-subprocess", in_test="fixture('fp')"),
    *(
        Neighbour(
            f"a mock of `{name}`",
            "pytest-mock",
            fixtures="mocker",
            in_test=f"fixture('mocker').patch('{name}')",
            without=tests,
            outcomes={"passed": 9 - len(tests.split(" or ")) * bool(tests)},
        )
        for name, tests in MOCKED.items()
    ),
    # Tests once more
    Neighbour(
        "pytest-retry",
        "pytest-retry",
        options="--retries=2",
        tests=SECOND_TRY.format(marker=""),
        outcomes=passes(1, retried=1),
        common=True,
    ),
    Neighbour(
        "pytest-rerunfailures",
        "pytest-rerunfailures",
        options="--reruns=2",
        tests=SECOND_TRY.format(marker=""),
        outcomes=passes(1, rerun=1),
    ),
    Neighbour(
        "flaky", "flaky", tests=SECOND_TRY.format(marker="@pytest.mark.flaky"), outcomes=passes(1)
    ),
    Neighbour("pytest-repeat", "pytest-repeat", options="--count=2", outcomes={"passed": 18}),
    # Tests elsewhere, at once, in another order
    Neighbour(
        "pytest-forked",
        "pytest-forked",
        options="--forked",
        outcomes={"failed": 9},
        excuse="With pytest 9 it does not run an empty test, either. pytest-xdist isolates, too.",
        shows="running the test EXITED",
    ),
    Neighbour("pytest-order", "pytest-order", tests=ORDERED, outcomes=passes(1)),
    Neighbour("pytest-randomly", "pytest-randomly"),
    Neighbour("pytest-xdist", "pytest-xdist", options="-n2"),
    Neighbour(
        "pytest-xdist (a worker crashes)",
        "pytest-xdist",
        options="-n2",
        tests=WORKER_CRASHES,
        outcomes=passes(failed=1),
    ),
    Neighbour(
        "pytest-run-parallel",
        "pytest-run-parallel",
        options="--parallel-threads=2",
        without="a_message or a_command or a_round or a_restart",  # two threads share a monitor
        outcomes={"passed": 5},
    ),
    Neighbour(
        "pytest-timeout (`signal`)",
        "pytest-timeout",
        options="--timeout-method=signal",
        tests=TIMES_OUT,
        outcomes=passes(failed=1),
    ),
    Neighbour(
        "pytest-timeout (`thread`)",
        "pytest-timeout",
        options="--timeout=60 --timeout-method=thread",
    ),
    # Kinds of tests
    Neighbour("pytest-subtests", "pytest-subtests", tests=SUBTESTS, outcomes=passes(1)),
    Neighbour("pytest-check", "pytest-check", tests=CHECKS, outcomes=passes(1)),
    Neighbour("anyio", "anyio", tests=ASYNC.format(marker="anyio"), outcomes=passes(1)),
    Neighbour(
        "pytest-asyncio", "pytest-asyncio", tests=ASYNC.format(marker="asyncio"), outcomes=passes(1)
    ),
    Neighbour(
        "pytest-mqtt",
        "pytest-mqtt",
        before=NO_DOCKER,
        after="from mqtt_test_broker import mosquitto",
        tests=CAPTURES,
        outcomes=passes(6),
    ),
    Neighbour("hypothesis", "hypothesis", tests=EXAMPLES, outcomes=passes(1)),
)


def as_markdown() -> str:
    """Return what docs/limits.md says of neighbours."""
    works = "; ".join(neighbour.name for neighbour in NEIGHBOURS[1:] if not neighbour.excuse)
    rows = [f"| {n.name} | {n.excuse} |" for n in NEIGHBOURS if n.excuse]
    text = textwrap.fill(f"It passes beside {works}.", 105, break_on_hyphens=False)
    return "\n".join([text, "", "| not beside | what to do |", "|---|---|", *rows]) + "\n"
