"""Services composed at random: however they live and end, the run is green, silent, and ends."""

import json
import os
import shutil
import uuid

import pytest
from helpers.composed import ACTIONS, FAIL, KINDS, OUT_OF_REACH, PIECES, STEPS
from helpers.drop_in import ALL_MODULES, TESTS, Repository
from helpers.processes import processes_with
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.usefixtures("few_plugins"), pytest.mark.slow]

SUITES = int(os.environ.get("MQTT_COMPOSED_SUITES", "4"))
"""Runs of pytest; the soak has more."""

SERVICES = 12
"""In each run."""

SEED = int(os.environ.get("MQTT_COMPOSED_SEED", "0"))

TEAR_DOWN = 6.0
"""Seconds: the cleanup's deadline, what is interrupted after it, and a busy machine."""

MARK = "MQTT_COMPOSED"

CONFTEST = """
    import json
    import time
    from pathlib import Path

    import pytest
    from composed import KINDS
    from concurrent_futures_fix import fix_concurrent_futures
    from optimized_service_fixture import service_fixture
    from shared_mqtt_pool import mqtt_client, shared_mqtt_pool

    for number, life in enumerate(json.loads(Path("lives.json").read_text())):
        parts = {**life, "__module__": "composed"}
        service_class = type(f"Composed{number}", (KINDS[life["kind"]],), parts)
        globals()[f"service_{number}"] = service_fixture(
            service_class, tasks={"poll_now": "poll_once"}, cleanup_timeout=0.3
        )

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(item):
        began = time.monotonic()
        yield
        with open("teardowns", "a") as file:
            print(item.name, time.monotonic() - began, file=file)
"""


@st.composite
def lives(draw):
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=4, unique=True))
    steps = draw(st.lists(st.sampled_from(STEPS), max_size=4, unique=True))
    if draw(st.integers(0, 9)) == 0:
        steps.insert(0, FAIL)
    action = draw(st.sampled_from(sorted(ACTIONS)))
    if OUT_OF_REACH & {*pieces} and "disable" in ACTIONS[action]:
        action = "runs it"  # disabling says that such a thread does not end
    return {
        "pieces": pieces,
        "steps": steps,
        "kind": draw(st.sampled_from(sorted(KINDS))),
        "action": action,
        "in_loop": draw(st.booleans()),
    }


def written(number, life):
    head = "@pytest.mark.asyncio\nasync def" if life["in_loop"] else "def"
    call = f"act(service_{number}, {ACTIONS[life['action']]}, mqtt_client)"
    return f"{head} test_{number}(service_{number}, mqtt_client): {call}\n"


def run_suite(pytester, suite):
    for path in pytester.path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    repository = Repository(pytester, ALL_MODULES, warm=False)  # whose processes have the mark
    shutil.copy(TESTS / "helpers/composed.py", repository.tests)
    repository.write("lives.json", json.dumps(suite))
    repository.write("tests/conftest.py", CONFTEST)
    tests = "".join(written(number, life) for number, life in enumerate(suite))
    head = "import pytest\nfrom composed import act\n\n"
    repository.write("tests/test_it.py", f"{head}{tests}def test_last(): pass\n")
    options = ("asyncio_default_fixture_loop_scope=function", "faulthandler_timeout=15")
    words = [word for option in options for word in ("-o", option)]
    return repository.run("-v", "-W", "error", "-p", "asyncio", *words, timeout=300)


def slow_teardowns(path):
    for line in path.read_text().splitlines():
        seconds = line.split()[1]
        if float(seconds) > TEAR_DOWN:
            yield line


@seed(SEED)
@settings(
    max_examples=SUITES,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a suite takes too long to shrink
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(lives(), min_size=SERVICES, max_size=SERVICES, unique_by=json.dumps))
def test_whatever_a_service_starts_and_however_it_ends(pytester, monkeypatch, suite):
    note("".join(f"{number}: {life}\n" for number, life in enumerate(suite)))
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    result = run_suite(pytester, suite)
    fail = sum(FAIL in life["steps"] and life["kind"] != "Deleted" for life in suite)
    result.assert_outcomes(passed=SERVICES + 1, errors=fail)
    assert result.ret == (1 if fail else 0)
    assert result.stderr.str() == ""
    assert list(slow_teardowns(pytester.path / "teardowns")) == []
    assert processes_with(f"{MARK}={mark}") == []
