import asyncio
import contextlib
import inspect
import multiprocessing
import os
import queue
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from unittest.mock import Mock

import pytest
from concurrent_futures_fix import (
    ConcurrentFuturesFix,
    WorkInterrupted,
    end_threads,
)
from helpers.processes import ends


def sleep_for_ever():
    while True:
        time.sleep(1)


def wait_for_ever():
    threading.Event().wait()


def spin_for_ever():
    while True:
        pass


def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep_for_ever()


def process_pool(workers=1):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


# Forking is what these tests are about; Python 3.12 warns of it where there are threads.
forking = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


class TestFix:
    def test_inside_errors_stay_errors(self):
        with ConcurrentFuturesFix(), ThreadPoolExecutor(1) as executor:
            executor.shutdown()
            with pytest.raises(RuntimeError, match="after shutdown"):
                executor.submit(abs, -1)

    def test_afterwards_work_is_refused(self):
        with ConcurrentFuturesFix():
            executor = ThreadPoolExecutor(1)
        assert executor.submit(abs, -1).cancelled()
        assert list(executor.map(abs, [])) == []

    def test_the_queue_is_cancelled_and_the_running_work_interrupted(self):
        with ConcurrentFuturesFix() as fix:
            executor = ThreadPoolExecutor(1)
            running = executor.submit(sleep_for_ever)
            queued = executor.submit(abs, -1)
        assert isinstance(running.exception(timeout=5), WorkInterrupted)
        assert queued.cancelled()
        assert fix.stuck == []

    def test_executors_of_before_are_left_alone(self):
        with ThreadPoolExecutor(1) as before:
            with ConcurrentFuturesFix():
                pass
            assert before.submit(abs, -1).result() == 1

    def test_an_asyncio_loop_gets_its_cancellation(self):
        with ConcurrentFuturesFix():
            executor = ThreadPoolExecutor(1)

        async def submit_late():
            await asyncio.get_running_loop().run_in_executor(executor, abs, -1)

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(submit_late())

    def test_a_worker_that_a_last_submission_starts_is_ended(self, monkeypatch):
        shutdown, submit = ThreadPoolExecutor.shutdown, inspect.unwrap(ThreadPoolExecutor.submit)

        def shutdown_after_a_submission(executor, **options):
            submit(executor, threading.Event().wait)
            shutdown(executor, **options)

        with ConcurrentFuturesFix():
            executor = ThreadPoolExecutor()
            monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown_after_a_submission)
        [worker] = executor._threads
        assert not worker.is_alive()

    @forking
    def test_a_hung_worker_process_is_killed(self):
        with ConcurrentFuturesFix():
            executor = process_pool()
            executor.submit(sleep_for_ever)
            pids = list(executor._processes)
        assert pids
        assert all(ends(pid) for pid in pids)

    def test_a_worker_that_does_not_end_is_named_with_its_stack(self):
        lock = threading.Lock()
        with lock, ConcurrentFuturesFix() as fix:
            executor = ThreadPoolExecutor(1, thread_name_prefix="stubborn")
            executor.submit(lock.acquire)
        [text] = fix.stuck
        assert text.startswith("stubborn_0 runs on")
        assert (
            "started in tests/executors/test_concurrent_futures_fix.py::TestFix::"
            "test_a_worker_that_does" in text
        )
        assert "thread.py" in text

    def test_a_worker_that_outlives_two_blocks_is_named_by_the_first(self):
        lock = threading.Lock()
        with lock, ConcurrentFuturesFix(since_import=True) as outer:
            with ConcurrentFuturesFix() as inner:
                executor = ThreadPoolExecutor(1)
                executor.submit(lock.acquire)
            assert len(inner.stuck) == 1
        assert outer.stuck == []

    def test_threads_become_daemons(self):
        with ConcurrentFuturesFix():
            thread = threading.Thread(target=int)
            thread.start()
            assert thread.daemon
            thread.join()

    def test_an_interrupted_waiter_does_not_wake_others(self):
        event, woken = threading.Event(), []
        other = threading.Thread(target=lambda: woken.append(event.wait(10)))
        other.start()
        with ConcurrentFuturesFix() as fix:
            thread = threading.Thread(target=event.wait)
            thread.start()
            assert end_threads([thread], at_once=True) == []
            assert fix.threads.alive == []
        assert other.is_alive()
        event.set()
        other.join()
        assert woken == [True]

    def test_workers_of_an_executor_of_before_are_left_alone(self):
        with ThreadPoolExecutor(1) as before:
            with ConcurrentFuturesFix() as fix:
                worker = before.submit(threading.current_thread).result()
                assert worker in fix.threads.alive
                assert fix.threads_left == []
            assert before.submit(threading.current_thread).result() is worker

    @forking
    def test_processes_of_an_executor_of_before_are_left_alone(self):
        with process_pool() as before:
            with ConcurrentFuturesFix():
                pid = before.submit(os.getpid).result()
            assert before.submit(os.getpid).result() == pid

    def test_what_threads_of_before_start_is_theirs(self):
        go_on, over, started = threading.Event(), threading.Event(), queue.SimpleQueue()

        def serve():
            go_on.wait(10)
            handler = threading.Thread(target=over.wait, args=[10])
            handler.start()
            started.put(handler)

        server = threading.Thread(target=serve)
        server.start()
        with ConcurrentFuturesFix() as fix:
            go_on.set()
            handler = started.get(timeout=10)
            assert fix.threads.alive == []
        over.set()
        handler.join()
        server.join()

    @forking
    @pytest.mark.parametrize("task", [sleep_for_ever, ignore_sigterm])
    def test_a_pool_of_processes_is_terminated(self, task):
        with ConcurrentFuturesFix():
            pool = multiprocessing.get_context("fork").Pool(2)
            assert pool.apply(abs, [-1]) == 1
            pool.apply_async(task)
            pids = [process.pid for process in pool._pool]
        assert all(ends(pid) for pid in pids)

    def test_workers_of_a_pool_of_threads_are_ended(self):
        with ConcurrentFuturesFix() as fix:
            pool = ThreadPool(1)
            pool.apply_async(sleep_for_ever)
            [worker] = pool._pool
        assert not worker.is_alive()
        assert fix.stuck == []

    def test_what_threads_of_before_make_is_theirs(self):
        go_on, executors = threading.Event(), queue.SimpleQueue()

        def serve():
            go_on.wait(10)
            executors.put(ThreadPoolExecutor(1))

        server = threading.Thread(target=serve)
        server.start()
        with ConcurrentFuturesFix():
            go_on.set()
            executor = executors.get(timeout=10)
        with executor:
            assert executor.submit(abs, -1).result() == 1
        server.join()

    def test_a_thread_of_before_that_is_started_again_is_none_of_ours(self):
        thread = threading.Thread(target=int)
        thread.start()
        with ConcurrentFuturesFix() as fix, pytest.raises(RuntimeError, match="only be started"):
            thread.start()
        thread.join()
        assert fix.threads.alive == []

    def test_a_mock_in_the_place_of_all_threads_does_not_disturb(self, monkeypatch):
        with ConcurrentFuturesFix() as fix:
            thread = threading.Thread(target=time.sleep, args=[0.05])
            thread.start()
            monkeypatch.setattr(threading, "Thread", Mock())
            assert end_threads(fix.threads.alive) == []
        monkeypatch.undo()

    def test_a_join_of_its_own_is_not_asked(self):
        class Stoppable(threading.Thread):
            def join(self):
                raise AssertionError("asked")

        with ConcurrentFuturesFix() as fix:
            thread = Stoppable(target=wait_for_ever)
            thread.start()
            assert end_threads([thread], at_once=True) == []
            assert fix.threads.alive == []

    def test_a_stuck_thread_can_be_joined_all_the_same(self):
        lock = threading.Lock()
        with lock, ConcurrentFuturesFix():
            thread = threading.Thread(target=lock.acquire)
            thread.start()
            assert end_threads([thread], at_once=True) == [thread]
            thread.join()

    def test_a_sleep_survives_mocks_of_what_it_is_made_of(self, monkeypatch):
        with ConcurrentFuturesFix(), ThreadPoolExecutor(1) as executor:
            executor.submit(abs, 1).result()
            monkeypatch.setattr(threading, "Event", None)
            monkeypatch.setattr(threading, "Timer", None)
            executor.submit(time.sleep, 0.001).result(timeout=10)

    def test_an_executor_with_a_shutdown_of_its_own_is_shut_down_all_the_same(self):
        class Bounded(ThreadPoolExecutor):
            def shutdown(self, wait=True):
                super().shutdown(wait)

        with ConcurrentFuturesFix():
            executor = Bounded(1)
        assert executor.submit(abs, -1).cancelled()


class TestEndThreads:
    @pytest.mark.parametrize("function", [sleep_for_ever, wait_for_ever, spin_for_ever])
    def test_ends_what_sleeps_waits_or_runs(self, function):
        with ConcurrentFuturesFix() as fix:
            threading.Thread(target=function).start()
            assert end_threads(fix.threads.alive) == []

    def test_ends_an_event_loop(self):
        loop = asyncio.new_event_loop()
        with ConcurrentFuturesFix() as fix:
            threading.Thread(target=loop.run_forever).start()
            assert end_threads(fix.threads.alive) == []
        loop.close()

    def test_ends_a_coroutine_without_a_word(self):
        runs = threading.Event()

        async def wait_in_a_loop():
            runs.set()
            await asyncio.Event().wait()

        with ConcurrentFuturesFix() as fix:
            threading.Thread(target=asyncio.run, args=[wait_in_a_loop()]).start()
            assert runs.wait(10)
            # "Event loop stopped before Future completed" would be a warning, here an error.
            assert end_threads(fix.threads.alive) == []

    def test_lets_work_end_by_itself(self):
        done = []
        with ConcurrentFuturesFix() as fix:
            threading.Thread(target=lambda: (time.sleep(0.01), done.append(True))).start()
            assert end_threads(fix.threads.alive) == []
        assert done == [True]

    def test_runs_the_clean_up_of_what_it_interrupts(self):
        cleaned = []

        def work():
            try:
                wait_for_ever()
            finally:
                cleaned.append(True)

        with ConcurrentFuturesFix() as fix:
            threading.Thread(target=work).start()
            end_threads(fix.threads.alive, at_once=True)
        assert cleaned == [True]

    def test_a_loop_that_swallows_exceptions_is_ended_all_the_same(self):
        def work():
            while True:
                with contextlib.suppress(Exception):
                    time.sleep(1)

        with ConcurrentFuturesFix() as fix:
            threading.Thread(target=work).start()
            assert end_threads(fix.threads.alive) == []

    def test_returns_what_cannot_be_ended(self):
        lock = threading.Lock()
        with lock, ConcurrentFuturesFix() as fix:
            threading.Thread(target=lock.acquire).start()
            assert end_threads(fix.threads.alive) == fix.threads.alive
