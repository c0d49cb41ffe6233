"""An alarm acts on what takes too long, and of the thread that looks out for it nothing is seen."""

import contextlib
import threading
import time

import pytest
from mqtt_testing.services import alarm
from mqtt_testing.services.alarm import Alarm

pytestmark = pytest.mark.usefixtures("few_plugins")

LONG = 60.0

TIMEOUT = 10.0


@pytest.fixture
def lookouts(monkeypatch):
    """The threads of a new lookout: an event for each that was started, set once it has ended."""
    start, ends = alarm._start_bare_thread, []

    def start_and_note(look, arguments):
        ends.append(threading.Event())
        start(look_and_tell, (look, arguments, ends[-1]))

    def look_and_tell(look, arguments, end):
        look(*arguments)
        end.set()

    monkeypatch.setattr(alarm, "_lookout", alarm._Lookout())
    monkeypatch.setattr(alarm, "_start_bare_thread", start_and_note)
    return ends


def assert_it_comes(due, seconds=alarm.LOOK_INTERVAL):
    come = threading.Event()
    with due.set((seconds, come.set)):
        assert come.wait(TIMEOUT)


class TestComing:
    def test_it_comes_before_one_that_was_set_earlier(self, lookouts):
        with Alarm().set((LONG, pytest.fail)):
            assert_it_comes(Alarm())

    def test_it_comes_where_the_lookout_is_idle(self, lookouts):
        assert_it_comes(Alarm())
        assert_it_comes(Alarm())
        assert len(lookouts) == 1

    def test_it_comes_after_the_lookout_has_ended(self, lookouts):
        assert_it_comes(Alarm())
        assert lookouts[0].wait(TIMEOUT)
        assert_it_comes(Alarm())
        assert len(lookouts) == 2

    def test_all_of_many_come(self, lookouts):
        come = [threading.Event() for _ in range(20)]
        with contextlib.ExitStack() as alarms:
            for event in come:
                alarms.enter_context(Alarm().set((alarm.LOOK_INTERVAL, event.set)))
            assert [event for event in come if not event.wait(TIMEOUT)] == []
        assert len(lookouts) == 1

    def test_the_steps_come_in_their_order(self, lookouts):
        come, last = [], threading.Event()
        steps = [(alarm.LOOK_INTERVAL, lambda n=n: come.append(n)) for n in range(3)]
        with Alarm().set(*steps, (0.0, last.set)):
            assert last.wait(TIMEOUT)
        assert come == [0, 1, 2]

    def test_it_comes_though_a_test_has_replaced_what_threads_are_made_of(
        self, monkeypatch, lookouts
    ):
        monkeypatch.undo()  # of the fixture, whose events are made of that, too
        monkeypatch.setattr(alarm, "_lookout", alarm._Lookout())
        due, come = Alarm(), threading.Event()
        for name in ("Condition", "Event", "Lock", "Thread"):
            monkeypatch.setattr(threading, name, None)
        with due.set((alarm.LOOK_INTERVAL, come.set)):
            assert come.wait(TIMEOUT)


class TestTheEndOfTheBlock:
    def test_it_does_not_come_after_it(self, lookouts):
        come = []
        with Alarm().set((alarm.LOOK_INTERVAL, lambda: come.append("first"))):
            pass
        assert_it_comes(Alarm())  # which was set later
        assert come == []

    def test_a_step_that_has_begun_is_over(self, lookouts):
        begun, go_on, done = threading.Event(), threading.Event(), []

        def act():
            begun.set()
            done.append(go_on.wait(TIMEOUT))

        with Alarm().set((alarm.LOOK_INTERVAL, act), (0.0, pytest.fail)):
            assert begun.wait(TIMEOUT)
            ends_meanwhile = threading.Timer(0.05, go_on.set)
            ends_meanwhile.start()
        assert done == [True]
        ends_meanwhile.join(TIMEOUT)

    def test_one_that_is_started_just_then_takes_no_step(self, monkeypatch, lookouts):
        come, started, start, due = [], threading.Event(), alarm.start_unwatched, Alarm()

        def start_late(thread):
            due._over.set()
            start(thread)
            started.set()

        monkeypatch.setattr(alarm, "start_unwatched", start_late)
        with due.set((alarm.LOOK_INTERVAL, lambda: come.append("late"))):
            assert started.wait(TIMEOUT)
        assert come == []


class TestTooManyThreads:
    def test_one_whose_thread_cannot_be_started_comes_when_it_can(self, monkeypatch, lookouts):
        start, refusals = alarm.start_unwatched, [RuntimeError("can't start new thread")] * 3

        def start_unless_refused(thread):
            if refusals:
                raise refusals.pop()
            start(thread)

        monkeypatch.setattr(alarm, "start_unwatched", start_unless_refused)
        began = time.monotonic()
        assert_it_comes(Alarm())
        assert refusals == []
        assert time.monotonic() - began > 3 * alarm.LOOK_INTERVAL  # it is no busy loop
        assert_it_comes(Alarm())

    def test_a_lookout_that_cannot_be_started_is_an_error_once(self, monkeypatch, lookouts):
        def refuse(look, arguments):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(alarm, "_start_bare_thread", refuse)
            with pytest.raises(RuntimeError, match="can't start"), Alarm().set((LONG, pytest.fail)):
                pass
        assert_it_comes(Alarm())
        assert lookouts[0].wait(TIMEOUT), "it looks out for the one that was refused"


class TestTheLookout:
    def test_it_ends_a_moment_after_the_last_alarm(self, lookouts):
        with Alarm().set((LONG, pytest.fail)):
            pass
        assert lookouts[0].wait(3 * alarm.LOOKS_IN_VAIN * alarm.LOOK_INTERVAL)

    def test_it_does_not_end_while_one_is_set(self, monkeypatch, lookouts):
        monkeypatch.setattr(alarm, "LOOKS_IN_VAIN", 1)
        assert_it_comes(Alarm(), 5 * alarm.LOOK_INTERVAL)
        assert len(lookouts) == 1

    def test_it_is_no_thread_that_is_seen(self, lookouts):
        before = set(threading.enumerate())
        with Alarm().set((LONG, pytest.fail)):
            assert_it_comes(Alarm())
            assert set(threading.enumerate()) <= before
            assert not lookouts[0].is_set()

    def test_services_one_after_another_share_it(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest
            from mqtt_testing.services import alarm

            started, start = [], alarm._start_bare_thread

            def start_and_note(*arguments):
                started.append(start(*arguments))

            alarm._start_bare_thread = start_and_note
            alarm.LOOKS_IN_VAIN *= 100  # however slow the machine is

            @pytest.fixture
            def thermostat(): pass

            @pytest.mark.parametrize("turn", range(5))
            def test_it(thermostat, turn):
                assert thermostat is not None

            def test_last():
                assert len(started) == 1
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=6)
