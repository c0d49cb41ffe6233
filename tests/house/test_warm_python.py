"""A run that begins where pytest is imported is as one that begins with Python."""

import ast

import pytest
from helpers import warm_python
from helpers.drop_in import TESTS, Repository, copy_modules

pytestmark = [
    pytest.mark.usefixtures("few_plugins"),
    pytest.mark.skipif(not warm_python.can_run_here(), reason="each run is a new process"),
]

SEEN = """
    import gc, os, signal, sys, threading, warnings

    def test_it(pytestconfig):
        seen = {
            "modules": sorted(set(sys.modules) - {"test_it"}),
            "path": sys.path,
            "arguments": sys.argv,
            "main": [sys.modules["__main__"].__spec__.name, sys.modules["__main__"].__file__],
            "environment": {**os.environ, "PYTEST_CURRENT_TEST": ""},
            "folder": os.getcwd(),
            "input": sys.__stdin__.read(),
            "outputs": [(f.encoding, f.errors, f.line_buffering, f.fileno())
                        for f in (sys.__stdin__, sys.__stdout__, sys.__stderr__)],
            "files": sorted(map(int, os.listdir("/proc/self/fd"))),
            "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            "threads": [thread.name for thread in threading.enumerate()],
            "main thread": threading.main_thread().native_id == os.getpid(),
            "warnings": [(kind, category.__name__) for kind, _, category, *_ in warnings.filters],
            "collector": (gc.isenabled(), gc.get_threshold()),
        }
        with open("seen", "w") as file:
            file.write(repr(seen))
"""


def what_is_seen(repository, *, warm):
    repository._warm = warm
    repository.run().assert_outcomes(passed=1)
    return ast.literal_eval((repository.tests.parent / "seen").read_text())


def test_it_sees_the_same(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/one:/two")
    monkeypatch.setenv("OF_THE_TEST", "1")
    repository = Repository(pytester, []).write("tests/test_it.py", SEEN)
    assert what_is_seen(repository, warm=True) == what_is_seen(repository, warm=False)


@pytest.mark.parametrize(
    ("end", "status"),
    [("sys.exit(7)", 7), ("os._exit(8)", 8), ("os.kill(os.getpid(), 9)", -9)],
)
def test_it_ends_as_it_ends(pytester, end, status):
    end = f"import atexit, os, sys\n\ndef pytest_unconfigure(): atexit.register(lambda: {end})"
    end = end.replace("atexit.register(lambda: sys.exit(7))", "sys.exit(7)")
    repository = Repository(pytester, []).write("tests/conftest.py", end)
    assert repository.run().ret == status


def test_one_that_does_not_end_is_killed_and_the_next_one_is_run(pytester):
    hang = "import threading\n\ndef test_it(): threading.Event().wait()\n"
    repository = Repository(pytester, []).write("tests/test_it.py", hang)
    with pytest.raises(pytester.TimeoutExpired):
        warm_python.run_pytest(pytester.path, timeout=0.5)
    repository.write("tests/test_it.py", "def test_it(): pass\n")
    repository.run().assert_outcomes(passed=1)


def test_what_a_repository_changes_of_the_copied_files_stays_its_own(pytester, tmp_path):
    repository = Repository(pytester, ["mqtt_test_broker"])
    repository.write("tests/mqtt_test_broker.py", "changed = True\n")
    copy_modules(["mqtt_test_broker"], tmp_path)
    name = "mqtt_test_broker.py"
    assert (tmp_path / name).read_bytes() == (TESTS / name).read_bytes()
