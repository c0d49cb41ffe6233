import asyncio
import inspect
import multiprocessing
import os
import queue
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from concurrent_futures_fix import ConcurrentFuturesFix
from helpers.processes import ends


def sleep_for_ever():
    while True:
        time.sleep(1)


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

    def test_the_queue_is_cancelled_and_the_running_work_named(self):
        over = threading.Event()
        with ConcurrentFuturesFix() as fix:
            executor = ThreadPoolExecutor(1)
            running = executor.submit(over.wait)
            queued = executor.submit(abs, -1)
        assert queued.cancelled()
        assert len(fix.stuck) == 1
        over.set()
        assert running.result(timeout=5)

    def test_work_that_ends_in_a_moment_is_not_named(self):
        with ConcurrentFuturesFix() as fix:
            executor = ThreadPoolExecutor(1)
            running = executor.submit(time.sleep, 0.01)
        assert fix.stuck == []
        assert running.result(timeout=5) is None

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

    def test_a_worker_that_a_last_submission_starts_is_named(self, monkeypatch):
        over = threading.Event()
        shutdown, submit = ThreadPoolExecutor.shutdown, inspect.unwrap(ThreadPoolExecutor.submit)

        def shutdown_after_a_submission(executor, **options):
            submit(executor, over.wait)
            shutdown(executor, **options)

        with ConcurrentFuturesFix() as fix:
            kept = ThreadPoolExecutor()
            monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown_after_a_submission)
        assert len(fix.stuck) == 1
        over.set()
        assert kept.submit(abs, -1).cancelled()

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
        with lock, ConcurrentFuturesFix() as outer:
            with ConcurrentFuturesFix() as inner:
                executor = ThreadPoolExecutor(1)
                executor.submit(lock.acquire)
            assert len(inner.stuck) == 1
        assert outer.stuck == []

    def test_threads_are_as_always(self):
        start, wait, sleep = threading.Thread.start, threading.Condition.wait, time.sleep
        with ConcurrentFuturesFix():
            thread = threading.Thread(target=int)
            thread.start()
            assert not thread.daemon
            now = (threading.Thread.start, threading.Condition.wait, time.sleep)
            assert now == (start, wait, sleep)
            thread.join()

    def test_workers_of_an_executor_of_before_are_left_alone(self):
        with ThreadPoolExecutor(1) as before:
            with ConcurrentFuturesFix() as fix:
                worker = before.submit(threading.current_thread).result()
                assert not fix.owns(before)
            assert before.submit(threading.current_thread).result() is worker

    @forking
    def test_processes_of_an_executor_of_before_are_left_alone(self):
        with process_pool() as before:
            with ConcurrentFuturesFix():
                pid = before.submit(os.getpid).result()
            assert before.submit(os.getpid).result() == pid

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

    def test_an_executor_with_a_shutdown_of_its_own_is_shut_down_all_the_same(self):
        class Bounded(ThreadPoolExecutor):
            def shutdown(self, wait=True):
                super().shutdown(wait)

        with ConcurrentFuturesFix():
            executor = Bounded(1)
        assert executor.submit(abs, -1).cancelled()
