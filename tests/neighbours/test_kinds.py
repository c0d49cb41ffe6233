"""What neighbours do to us, done by a few lines of that kind in the place of the neighbour."""

from textwrap import indent

import pytest
from helpers.drop_in import ALL_MODULES, Repository
from helpers.neighbours import SECOND_TRY

pytestmark = pytest.mark.usefixtures("few_plugins")

IMPORTS = """
    from optimized_service_fixture import service_fixture
    from mqtt_test_broker import isolated_mqtt_broker
    from shared_mqtt_pool import mqtt_client
"""

SENDS = """
    def test_sends(mqtt_client, mqtt_monitor):
        mqtt_client.publish("status", "on")
        mqtt_monitor.wait_for("status")
"""


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("tests/conftest.py", IMPORTS)
    return repository.write("tests/test_it.py", SENDS)


def test_a_plugin_that_tries_a_test_again_inside_of_its_report(repository):
    """As pytest-retry: the second try is set up and run before the first one has been logged."""
    repository.write(
        "retry.py",
        """
        import pytest

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = (yield).get_result()
            if report.when == "call" and report.failed:
                item.ihook.pytest_runtest_teardown(item=item, nextitem=None)
                item._initrequest()
                item.ihook.pytest_runtest_setup(item=item)
                item.ihook.pytest_runtest_call(item=item)
                report.outcome = "passed"
        """,
    )
    repository.write("tests/test_it.py", SECOND_TRY.format(marker=""))
    repository.run("-p", "retry").assert_outcomes(passed=1)


def test_a_mock_in_the_place_of_the_socket_from_the_test_to_the_tear_down(repository):
    repository.write(
        "tests/test_it.py",
        """
        import socket
        from unittest import mock

        import pytest

        @pytest.fixture
        def patch():
            with mock.patch("socket.getaddrinfo"), mock.patch("socket.socket"):
                yield

        def test_one(isolated_mqtt_broker, mqtt_client, patch):
            socket.socket().connect(("elsewhere", 1))
            isolated_mqtt_broker.restart()

        @pytest.mark.usefixtures("patch")
        def test_two(isolated_mqtt_broker):
            isolated_mqtt_broker.restart()
        """,
    )
    repository.run("-W", "error").assert_outcomes(passed=2)


SOCKETS_ARE_BLOCKED = """
    import socket

    class SocketBlockedError(RuntimeError):
        pass

    def blocked(*args, **kwargs):
        raise SocketBlockedError("A test tried to use socket.socket.")

    @pytest.fixture(scope="session", autouse=True)
    def first():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", blocked)
            patch.setattr(socket, "socket", type("Blocked", (socket.socket,), {"__new__": blocked}))
            yield

    @pytest.fixture(scope="session", autouse=True)
    def address(first, session_mqtt_broker):
        return session_mqtt_broker.port
"""


def test_sockets_that_are_blocked_are_one_sentence_where_they_are_needed(repository):
    repository.write("tests/conftest.py", IMPORTS + "    import pytest\n" + SOCKETS_ARE_BLOCKED)
    repository.write("tests/test_it.py", SENDS + "\n    def test_without(address):\n        pass\n")
    result = repository.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        "MQTT connection failed: 127.0.0.1:*: A test tried to use socket.socket. Check that *"
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*in session_mqtt_broker*")


GREEN = """
    import time

    def sleep(seconds):
        pass

    sleep.__module__ = {module!r}
    time.sleep = sleep
"""


@pytest.mark.parametrize(
    ("module", "before", "told"),
    [
        ("gevent.hub", True, None),
        ("gevent.hub", False, "gevent.monkey.patch_all() was called after the import of *first*"),
        ("eventlet.greenthread", True, "eventlet.monkey_patch() is in force: *"),
        ("eventlet.greenthread", False, "eventlet.monkey_patch() is in force: *"),
    ],
)
def test_green_threads_that_we_cannot_wait_with_are_one_sentence(repository, module, before, told):
    patch = GREEN.format(module=module)
    repository.write("tests/conftest.py", patch + IMPORTS if before else IMPORTS + patch)
    result = repository.run()
    if told:
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"mosquitto: {told}", "*ERROR at setup of test_sends*", told])
    else:
        result.assert_outcomes(passed=1)


@pytest.mark.parametrize("before", [True, False])
def test_a_profiler_whose_locks_and_conditions_are_objects_around_the_real_ones(repository, before):
    """As ddtrace.profiling.auto: what stands in the place of a class has none of its methods."""
    repository.write(
        "profiler.py",
        """
        import threading

        class Profiled:
            def __init__(self, real):
                self._real = real

            def __getattr__(self, name):
                return getattr(self._real, name)

            def __enter__(self):
                return self._real.__enter__()

            def __exit__(self, *error):
                return self._real.__exit__(*error)

        class Allocator:
            def __init__(self, make):
                self._make = make

            def __call__(self, *args, **kwargs):
                return Profiled(self._make(*args, **kwargs))

        for name in ("Lock", "RLock", "Condition", "Semaphore"):
            setattr(threading, name, Allocator(getattr(threading, name)))
        """,
    )
    repository.write("tests/conftest.py", ("    import profiler\n" if before else "") + IMPORTS)
    repository.write(
        "tests/test_it.py",
        """
        import threading
        from optimized_service_fixture import service_fixture
        import profiler

        class Waits:
            def __init__(self):
                self.change = threading.Condition()
                threading.Thread(target=self.wait).start()

            def wait(self):
                with self.change:
                    self.change.wait()

        waits = service_fixture(Waits, tasks={}, hold=())

        def test_waits(waits):
            pass
        """
        + indent(SENDS, "    "),
    )
    result = repository.run("-W", "error")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*left behind*")
