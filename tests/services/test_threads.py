"""What a watch of threads knows of them, and how they are interrupted."""

import asyncio
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
from mqtt_testing import interruption, threads
from mqtt_testing.interruption import end_threads, interruptible, short_sleeps
from mqtt_testing.threads import NEEDED, ThreadWatch, missing_names


def sleep_for_ever():
    while True:
        time.sleep(1)


def wait_for_ever():
    threading.Event().wait()


def spin_for_ever():
    while True:
        pass


class TestWatch:
    def test_an_interrupted_waiter_does_not_wake_others(self):
        event, woken = threading.Event(), []
        other = threading.Thread(target=lambda: woken.append(event.wait(10)))
        other.start()
        with ThreadWatch() as watch:
            thread = threading.Thread(target=event.wait)
            thread.start()
            assert end_threads([thread], at_once=True) == []
            assert watch.alive == []
        assert other.is_alive()
        event.set()
        other.join()
        assert woken == [True]

    def test_what_threads_of_before_start_is_theirs(self):
        go_on, over, started = threading.Event(), threading.Event(), queue.SimpleQueue()

        def serve():
            go_on.wait(10)
            handler = threading.Thread(target=over.wait, args=[10])
            handler.start()
            started.put(handler)

        server = threading.Thread(target=serve)
        server.start()
        with ThreadWatch() as watch:
            go_on.set()
            handler = started.get(timeout=10)
            assert watch.alive == []
        over.set()
        handler.join()
        server.join()

    def test_a_thread_of_before_that_is_started_again_is_none_of_ours(self):
        thread = threading.Thread(target=int)
        thread.start()
        with ThreadWatch() as watch, pytest.raises(RuntimeError, match="only be started"):
            thread.start()
        thread.join()
        assert watch.alive == []

    def test_a_mock_in_the_place_of_all_threads_does_not_disturb(self, monkeypatch):
        with ThreadWatch() as watch:
            thread = threading.Thread(target=time.sleep, args=[0.05])
            thread.start()
            monkeypatch.setattr(threading, "Thread", Mock())
            assert end_threads(watch.alive) == []
        monkeypatch.undo()

    def test_a_join_of_its_own_is_not_asked(self):
        class Stoppable(threading.Thread):
            def join(self):
                raise AssertionError("asked")

        with ThreadWatch() as watch:
            thread = Stoppable(target=wait_for_ever)
            thread.start()
            assert end_threads([thread], at_once=True) == []
            assert watch.alive == []

    def test_a_sleep_survives_mocks_of_what_it_is_made_of(self, monkeypatch):
        with ThreadWatch(), ThreadPoolExecutor(1) as executor:
            executor.submit(abs, 1).result()
            monkeypatch.setattr(threading, "Event", None)
            monkeypatch.setattr(threading, "Timer", None)
            executor.submit(time.sleep, 0.001).result(timeout=10)

    def test_a_sleep_that_cannot_be_is_refused_as_always(self):
        with ThreadWatch(), ThreadPoolExecutor(1) as executor:
            slept = executor.submit(time.sleep, -1)
        with pytest.raises(ValueError, match="negative"):
            slept.result()

    def test_nothing_is_replaced_after_it(self):
        before = threading.Thread.start, time.sleep
        with ThreadWatch():
            with ThreadWatch():
                pass
            assert not {threading.Thread.start, time.sleep} & set(before)
        assert (threading.Thread.start, time.sleep) == before

    def test_a_sleep_that_a_test_replaces_and_puts_back_does_not_pile_up(self, monkeypatch):
        sleeps = set()
        for _ in range(3):
            with pytest.MonkeyPatch.context() as patch, ThreadWatch():
                sleeps.add(time.sleep)
                patch.setattr(time, "sleep", lambda seconds: None)
            with ThreadWatch():
                pass
        assert threading.Thread.start.__name__ == "start"

    def test_sleeps_of_one_thread_can_be_made_short(self):
        with ThreadWatch(), short_sleeps(0.001):
            began = time.monotonic()
            time.sleep(60)
        assert time.monotonic() - began < 30

    @pytest.mark.parametrize("wraps", ["start", "run"])
    def test_wrappers_of_others_go_on_working(self, monkeypatch, wraps):
        """As those of tracers, which hand the thread over."""
        seen = []
        method = getattr(threading.Thread, wraps)

        def traced(thread, *args, **kwargs):
            seen.append(thread)
            return method(thread, *args, **kwargs)

        monkeypatch.setattr(threading.Thread, wraps, traced)
        with ThreadWatch() as watch:
            thread = threading.Thread(target=wait_for_ever)
            thread.start()
            assert thread.run.__self__ is thread
            assert end_threads(watch.alive, at_once=True) == []
        assert seen == [thread]


class TestEndThreads:
    @pytest.mark.parametrize("function", [sleep_for_ever, wait_for_ever, spin_for_ever])
    def test_ends_what_sleeps_waits_or_runs(self, function):
        with ThreadWatch() as watch:
            threading.Thread(target=function).start()
            assert end_threads(watch.alive) == []

    def test_ends_an_event_loop(self):
        loop = asyncio.new_event_loop()
        with ThreadWatch() as watch:
            threading.Thread(target=loop.run_forever).start()
            assert end_threads(watch.alive) == []
        loop.close()

    def test_ends_what_runs_for_ever_and_is_no_event_loop(self):
        class Connection:
            def run_forever(self):
                wait_for_ever()

        with ThreadWatch() as watch:
            threading.Thread(target=Connection().run_forever).start()
            assert end_threads(watch.alive) == []

    def test_ends_a_coroutine_without_a_word(self):
        runs = threading.Event()

        async def wait_in_a_loop():
            runs.set()
            await asyncio.Event().wait()

        with ThreadWatch() as watch:
            threading.Thread(target=asyncio.run, args=[wait_in_a_loop()]).start()
            assert runs.wait(10)
            # "Event loop stopped before Future completed" would be a warning, here an error.
            assert end_threads(watch.alive) == []

    def test_lets_work_end_by_itself(self):
        done = []
        with ThreadWatch() as watch:
            threading.Thread(target=lambda: (time.sleep(0.01), done.append(True))).start()
            assert end_threads(watch.alive) == []
        assert done == [True]

    def test_runs_the_clean_up_of_what_it_interrupts(self):
        cleaned = []

        def work():
            try:
                wait_for_ever()
            finally:
                cleaned.append(True)

        with ThreadWatch() as watch:
            threading.Thread(target=work).start()
            end_threads(watch.alive, at_once=True)
        assert cleaned == [True]

    def test_a_loop_that_swallows_exceptions_is_ended_all_the_same(self):
        def work():
            while True:
                with contextlib.suppress(Exception):
                    time.sleep(1)

        with ThreadWatch() as watch:
            threading.Thread(target=work).start()
            assert end_threads(watch.alive) == []

    def test_returns_what_cannot_be_ended(self):
        lock = threading.Lock()
        with lock, ThreadWatch() as watch:
            threading.Thread(target=lock.acquire).start()
            assert end_threads(watch.alive) == watch.alive


def test_a_handler_of_a_signal_that_python_does_not_know_stays(monkeypatch):
    monkeypatch.setattr(interruption.signal, "getsignal", lambda _number: None)
    with interruptible(KeyboardInterrupt, lambda: False) as interrupt:
        interrupt()


@pytest.mark.parametrize(
    "name", [f"threading.{kind}.{name}" for kind, names in NEEDED.items() for name in names]
)
def test_this_python_has_what_is_needed_of_it(name):
    assert name not in missing_names()


def test_a_python_that_lacks_a_name_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(threads, "NEEDED", {"Thread": ("_no_such_name",)})
    threads.check_python.cache_clear()
    with pytest.raises(RuntimeError, match=r"^Python 3\.\d+ has no threading\.Thread\._no_such_n"):
        threads.check_python()


IMPORTS = """
import _imp, sys, threading, time
from mqtt_testing.interruption import frames_of, interrupt

def import_for_ever():
    while True:
        sys.modules.pop("colorsys", None)
        import colorsys

thread = threading.Thread(target=import_for_ever, daemon=True)
deadline = time.monotonic() + 10
_imp.acquire_lock()
thread.start()
while not any("importlib" in frame.f_code.co_filename for frame in frames_of(thread)):
    assert time.monotonic() < deadline
interrupt(thread)  # which waits for the lock
_imp.release_lock()
while thread.is_alive():
    assert time.monotonic() < deadline
    interrupt(thread)
    thread.join(0.1)
sys.modules.pop("colorsys", None)
import colorsys
"""


def test_an_interrupted_thread_does_not_keep_the_lock_of_imports():
    path = {"PYTHONPATH": str(Path(threads.__file__).parents[1])}
    subprocess.run(
        [sys.executable, "-c", IMPORTS], check=True, timeout=20, env={**os.environ, **path}
    )
