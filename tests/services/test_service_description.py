"""What service_fixture() is told about a service, and what it says where that is not so."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("few_plugins")

HEATER = """
    import threading, time
    from paho.mqtt.client import Client
    from thermostat import ARGUMENTS

    class Heater:
        def __init__(self, room, limit=20, on_error=None):
            self.room, self.limit, self.on_error = room, limit, on_error
            self.stopped = False
            self.client = Client(*ARGUMENTS)
            self.client.on_connect = lambda client, *_: client.subscribe("heat")
            self.client.on_message = lambda client, *_: client.publish("heating", self.room)
            self.thread = threading.Thread(target=self._watch_for_ever)

        def start(self):
            self.client.connect("mqtt.example.invalid", 1883)
            self.client.loop_start()
            self.thread.start()

        def _watch_for_ever(self):
            while True:
                self._watch()
                time.sleep(60)

        def _watch(self):
            self.client.publish("heater", "watched")

        def stop(self):
            self.stopped = True
            self.client.disconnect()
            self.client.loop_stop()
"""

HEATS = """
    def test_heats(heater, mqtt_client, mqtt_monitor):
        mqtt_client.publish("heat")
        assert mqtt_monitor.wait_for("heating")[0].payload == b"kitchen"
        mqtt_monitor.assert_none("heater")  # its thread is held
"""


def described(repository, arguments, service="Heater", more=""):
    """Write a service, and its fixture as it is described."""
    repository.write("heater.py", HEATER)
    conftest = """
    import functools, pytest
    from heater import Heater
    from optimized_service_fixture import service_fixture
    from shared_mqtt_pool import mqtt_client

    @pytest.fixture
    def room(): return "kitchen"
    """
    wiring = f"\n    heater = service_fixture({service}, {arguments})\n"
    repository.write("tests/conftest.py", conftest + more + wiring)
    return repository


class TestStart:
    def test_what_it_starts_is_awaited_and_held(self, repository):
        described(repository, "start='start', tasks={'run_watch_once': '_watch'}")
        repository.write(
            "tests/test_it.py",
            HEATS
            + """
    def test_watches(heater, mqtt_monitor):
        heater.run_watch_once()
        assert len(mqtt_monitor.wait_for("heater")) == 1
        assert not heater.thread.is_alive()
        heater.test_enable_background_tasks()
        mqtt_monitor.wait_for("heater", count=2)
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        ("service", "more"),
        [
            ("lambda room: Heater(room)", ""),
            ("functools.partial(Heater, limit=3)", ""),
            ("build", "def build(room): return Heater(room)"),
            ("'heater_class'", "@pytest.fixture\n    def heater_class(): return Heater"),
            ("'build'", "@pytest.fixture\n    def build(): return lambda room: Heater(room)"),
            ("Sub", "class Sub(Heater): pass"),
        ],
        ids=["lambda", "partial", "function", "fixture of a class", "of a function", "inherited"],
    )
    def test_of_whatever_builds_the_service(self, repository, service, more):
        described(repository, "start='start', cleanup='stop'", service, f"\n    {more}\n")
        repository.write("tests/test_it.py", HEATS)
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("head", ["def", "async def", "@{}.contextmanager\n    def"])
    def test_what_yields_is_refused(self, repository, head):
        build = f"\n    import contextlib\n    {head.format('contextlib')} build(room): yield 1\n"
        described(repository, "", "build", build)
        repository.write("tests/test_it.py", HEATS)
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["build has a yield; service_fixture takes what returns *"])

    def test_that_raises_leaves_nothing_behind(self, repository):
        described(
            repository,
            "start='fail'",
            "Failing",
            """
    class Failing(Heater):
        def fail(self):
            self.start()
            raise LookupError("no sensor")

        def stop(self):
            super().stop()
            type(self).has_ended_itself = True
    """,
        )
        repository.write(
            "tests/test_it.py",
            """
    import threading
    from conftest import Failing

    def test_one(heater): pass
    def test_two(shared_mqtt_pool):
        assert Failing.has_ended_itself
        assert shared_mqtt_pool.ref_count == 0
        left = {t.name for t in threading.enumerate() if "paho" in t.name}
        assert not [name for name in left if "observer" not in name]
            """,
        )
        result = repository.run()
        result.assert_outcomes(errors=1, passed=1)
        result.stdout.fnmatch_lines(["*LookupError: no sensor"])


class TestNames:
    WRONG = (
        ("start='strat'", "Heater has no method 'strat'*start*Is it 'start'?"),
        ("cleanup='stpo'", "Heater has no method 'stpo'*cleanup*Is it 'stop'?"),
        ("cleanup=('shut', 'stpo')", "Heater has no method 'shut' or 'stpo'*"),
        ("running='stoped'", "Heater has no bool or Event 'stoped'*running*Is it 'stopped'?"),
        ("running='room'", "Heater has no bool or Event 'room'*"),
        ("tasks={'once': '_wotch'}", "Heater has no method '_wotch'*tasks*'once'*'_watch'?"),
        ("tasks={'once': 'room'}", "Heater has no method 'room'*"),
        ("hold='_watch'", "hold names '_watch', which is no `async def` method of Heater*"),
        ("requires=['sensors']", "no fixture has the name 'sensors'*Heater, requires=*"),
        ("arguments={'limits': 'room'}", "arguments has 'limits'*Heater*room, limit, on_error"),
        ("arguments={'limit': 'limits'}", "no fixture has the name 'limits'*Heater*'limit'*"),
    )

    def test_that_do_not_exist_are_an_error_that_says_so(self, repository):
        more = "".join(
            f"\n    wrong_{n} = service_fixture(Heater, {arguments})"
            for n, (arguments, _) in enumerate(self.WRONG)
        )
        described(repository, "", more=more)
        tests = [f"def test_{n}(wrong_{n}): pass\n" for n in range(len(self.WRONG))]
        repository.write("tests/test_it.py", "".join(tests))
        result = repository.run()
        result.assert_outcomes(errors=len(self.WRONG))
        # The message alone: a traceback would be of the kit.
        lines = [
            line
            for n, (_, error) in enumerate(self.WRONG)
            for line in (f"_* ERROR at setup of test_{n} _*", f"{error}*")
        ]
        result.stdout.fnmatch_lines(lines)
        result.stdout.no_fnmatch_line("*mqtt_testing/services/*")

    def test_usual_ones_need_not_exist(self, repository):
        described(
            repository,
            "",
            "Bare",
            """
    class Bare:
        pass
    """,
        )
        repository.write("tests/test_it.py", "def test_it(heater): pass")
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_none_is_none(self, repository):
        described(
            repository,
            "cleanup=None, running=None, tasks={'once': 'look'}",
            "Kept",
            """
    class Kept:
        running = False
        def look(self): return self.running
        def stop(self): raise AssertionError("called")
    """,
        )
        repository.write("tests/test_it.py", "def test_it(heater): assert heater.once() is False")
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_a_flag_may_be_the_class_s(self, repository):
        described(
            repository,
            "running='on', tasks={'once': 'look'}",
            "Switched",
            """
    class Switched(Heater):
        on = False
        def look(self): return self.on
    """,
        )
        repository.write("tests/test_it.py", "def test_it(heater): assert heater.once() is True")
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_what_a_required_one_lacks_is_said_by_pytest(self, repository):
        site = "\n    @pytest.fixture\n    def site(plan): pass\n"
        described(repository, "requires=['site']", more=site)
        repository.write("tests/test_it.py", "def test_it(heater): pass")
        repository.run().stdout.fnmatch_lines(["*fixture 'plan' not found"])

    def test_a_parameter_that_nothing_fills_is_named(self, repository):
        described(repository, "", "lambda floor: Heater(floor)")
        repository.write("tests/test_it.py", "def test_it(heater): pass")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*no fixture has the name 'floor', *={'floor': ...}*"])

    def test_what_is_no_service_is_refused(self, repository):
        described(repository, "", "'room'")
        repository.write("tests/test_it.py", "def test_it(heater): pass")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*takes a class, or a function that builds *, not 'kitchen'*"])


class TestArguments:
    def test_fill_what_has_a_default_or_another_name(self, repository):
        described(
            repository,
            "arguments={'limit': 'degrees', 'room': 'where'}",
            more="""
    @pytest.fixture
    def degrees(): return 7
    @pytest.fixture
    def where(): return "attic"
    """,
        )
        repository.write(
            "tests/test_it.py",
            """
    def test_it(heater): assert (heater.room, heater.limit, heater.on_error) == ("attic", 7, None)
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_go_to_a_builder_that_takes_any(self, repository):
        described(repository, "arguments={'room': 'room'}", "lambda **options: Heater(**options)")
        repository.write("tests/test_it.py", "def test_it(heater): assert heater.room == 'kitchen'")
        repository.run("-W", "error").assert_outcomes(passed=1)


class TestCoroutines:
    CHARGER = """
    class Charger(Heater):
        async def connect(self): self.start()
        async def report(self): return "reported"
    """
    ENTERED = """
    import asyncio

    async def enter(heater):
        async with heater as service:
            service.test_enable_background_tasks()
            assert await asyncio.wait_for(service.report(), 10) == "reported"

    def test_it(heater): asyncio.run(enter(heater))
    """

    def test_run_is_one_that_goes_on(self, repository):
        described(repository, "run='connect'", "Charger", self.CHARGER)
        repository.write("tests/test_it.py", self.ENTERED)
        result = repository.run("-W", "error")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*ServiceFixtureError: connect() has returned: name it start"])

    def test_a_held_one_that_is_called_when_all_are_enabled_goes_on(self, repository):
        described(repository, "start='connect', hold='report'", "Charger", self.CHARGER)
        repository.write("tests/test_it.py", self.ENTERED)
        repository.run("-W", "error").assert_outcomes(passed=1)


class TestHint:
    FAILS = "def test_it(heater): assert [][0]"

    def test_says_that_no_client_was_connected(self, repository):
        described(repository, "")
        repository.write("tests/test_it.py", self.FAILS)
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*Heater had connected no client*start='start'*"])

    def test_is_not_there_where_one_was(self, repository):
        described(repository, "start='start'")
        repository.write("tests/test_it.py", self.FAILS)
        result = repository.run()
        result.assert_outcomes(failed=1)
        assert "connected no client" not in result.stdout.str()

    def test_is_not_there_where_the_service_could_not_be_built(self, repository):
        described(repository, "", "lambda: 1 / 0")
        repository.write("tests/test_it.py", self.FAILS)
        result = repository.run()
        result.assert_outcomes(errors=1)
        assert "connected no client" not in result.stdout.str()
