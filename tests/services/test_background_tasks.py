"""A service's threads are started when a test enables them, and ended when it disables them."""

import pytest
from helpers.drop_in import assert_nothing_left
from helpers.thermostat import SLOW, THERMOSTAT

pytestmark = pytest.mark.usefixtures("few_plugins")


def test_enabled_twice_they_are_started_once(repository):
    repository.write(
        "tests/test_it.py",
        SLOW
        + """
    def test_it(thermostat):
        for _ in range(2):
            thermostat.test_enable_background_tasks()
        assert [t.name for t in threading.enumerate()].count("poller") == 1
        """,
    )
    assert_nothing_left(repository.run("-W", "error"), passed=1)


def test_those_that_do_not_end_are_named(repository):
    block = "lock = threading.Lock(); lock.acquire(); lock.acquire()"
    repository.write("thermostat.py", THERMOSTAT.replace("time.sleep(60)", block))
    repository.write(
        "tests/test_it.py",
        SLOW
        + """
    def test_it(thermostat):
        thermostat.test_enable_background_tasks()
        with pytest.raises(RuntimeError, match="(?s)do not end:.poller:.*_poll_for_ever"):
            thermostat.test_disable_background_tasks()
        """,
    )
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_one_of_a_kind_of_its_own_can_be_started_once(repository):
    own = 'self.poller = type("Poller", (threading.Thread,), {})('
    repository.write("thermostat.py", THERMOSTAT.replace("self.poller = threading.Thread(", own))
    repository.write(
        "tests/test_it.py",
        SLOW
        + """
    def test_it(thermostat):
        thermostat.test_enable_background_tasks()
        thermostat.test_disable_background_tasks()
        with pytest.raises(RuntimeError, match="second time: a Poller can be started once only"):
            thermostat.test_enable_background_tasks()
        """,
    )
    assert_nothing_left(repository.run("-W", "error"), passed=1)
