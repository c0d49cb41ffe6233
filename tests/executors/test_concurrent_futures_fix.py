import asyncio
import contextlib
import inspect
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing.pool import ThreadPool
from unittest.mock import Mock

import pytest
from concurrent_futures_fix import (
    SHUTDOWN_MESSAGES,
    ConcurrentFuturesFix,
    SafeExecutor,
    WorkInterrupted,
    end_threads,
    refusals,
)
from helpers.drop_in import Repository, few_plugins  # noqa: F401
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


def assert_green_and_silent(result, passed):
    result.assert_outcomes(passed=passed)
    assert result.ret == 0
    assert result.stderr.str() == ""


# Forking is what these tests are about; Python 3.12 warns of it where there are threads.
forking = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


class TestSafeExecutor:
    def test_does_the_work(self):
        with SafeExecutor(max_workers=2) as executor:
            assert list(executor.map(abs, [-1, -2])) == [1, 2]

    def test_wraps_an_executor_or_takes_a_class(self):
        with SafeExecutor(ThreadPoolExecutor(1)) as executor:
            assert executor.submit(abs, -1).result() == 1
        with SafeExecutor(ThreadPoolExecutor, 1) as executor:
            assert executor.submit(abs, -1).result() == 1

    def test_refuses_late_work_with_a_cancelled_future(self):
        executor = SafeExecutor(max_workers=1)
        executor.shutdown()
        future = executor.submit(abs, -1)
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()
        assert wait([future], timeout=5).done == {future}

    @pytest.mark.parametrize("message", SHUTDOWN_MESSAGES)
    def test_knows_all_messages_of_an_end(self, message):
        assert SafeExecutor(_RaisingExecutor(RuntimeError(message))).submit(abs).cancelled()

    def test_lets_other_errors_through(self):
        executor = SafeExecutor(_RaisingExecutor(RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            executor.submit(abs)

    def test_counts_what_it_refuses_by_where_it_came_from(self):
        executor = SafeExecutor(max_workers=1)
        executor.shutdown()

        def work():
            pass

        for _ in range(3):
            executor.submit(work)
        [line] = [line for line in refusals.describe() if work.__qualname__ in line]
        assert line.startswith("3 x ")
        assert __file__ in line

    def test_refuses_what_is_no_executor(self):
        with pytest.raises(TypeError, match="max_workers=4"):
            SafeExecutor(4)
        with ThreadPoolExecutor(1) as executor, pytest.raises(TypeError, match="no further"):
            SafeExecutor(executor, max_workers=4)


class _RaisingExecutor(ThreadPoolExecutor):
    def __init__(self, error):
        super().__init__(1)
        self._error = error

    def submit(self, fn, /, *args, **kwargs):
        raise self._error


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


@pytest.mark.usefixtures("few_plugins")
class TestFixture:
    """The module copied alone into a repository that has nothing else."""

    @pytest.fixture
    def repository(self, pytester):
        repository = Repository(pytester, ["concurrent_futures_fix"])
        wiring = "from concurrent_futures_fix import fix_concurrent_futures"
        return repository.write("tests/conftest.py", wiring)

    def test_a_suite_that_leaks_everything_ends_green_and_silent(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, threading, time, warnings
            from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

            executor = ThreadPoolExecutor(4)
            lock = threading.Lock()
            lock.acquire()

            def hang():
                while True: time.sleep(1)

            def test_blocked_workers():
                executor.submit(lock.acquire)
                executor.submit(threading.Event().wait)
                executor.submit(hang)

            def test_hung_process():
                global pool
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
                    pool.submit(hang)

            def test_timer(): threading.Timer(60, print).start()
            def test_thread(): threading.Thread(target=hang).start()

            def submit_for_ever():
                while True:
                    executor.submit(int)
                    time.sleep(0.001)

            def test_late_submissions(): threading.Thread(target=submit_for_ever).start()
            """,
        )
        result = repository.run("-W", "error")
        assert_green_and_silent(result, passed=5)
        result.stdout.fnmatch_lines(
            ["*late submissions*", "* x int, submitted at *", "*would not end*", "*_0 runs on*"]
        )

    @pytest.mark.parametrize("work", ["threading.Event().wait()", "hang()"])
    @pytest.mark.parametrize("place", ["conftest", "module", "earlier fixture"])
    def test_a_thread_from_before_the_fixture_ends_with_the_run(self, repository, place, work):
        start = f"threading.Thread(target=lambda: {work}).start()"
        hang = "def hang():\n    while True: time.sleep(1)\n"
        imports = "import threading, time\nimport pytest\n"
        wiring = "from concurrent_futures_fix import fix_concurrent_futures\n"
        fixture = f"@pytest.fixture(scope='session', autouse=True)\ndef a_first():\n    {start}\n"
        at = {"conftest": start, "module": "", "earlier fixture": fixture}[place]
        repository.write("tests/conftest.py", imports + wiring + hang + at)
        in_module = start if place == "module" else ""
        repository.write("tests/test_it.py", f"{imports}{hang}{in_module}\ndef test(): pass\n")
        result = repository.run("-W", "error")
        assert_green_and_silent(result, passed=1)
        result.stdout.no_fnmatch_line("*would not end*")

    @pytest.mark.parametrize(
        ("work", "named"), [("time.sleep(0.01)", False), ("threading.Event().wait()", True)]
    )
    @pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n", "1"]], ids=["alone", "xdist"])
    def test_a_thread_from_before_the_import_cannot_keep_the_run(
        self, repository, work, named, options
    ):
        if options:
            pytest.importorskip("xdist")
        repository.write(
            "service.py",
            f"""
            import threading, time

            def work():
                while True: {work}

            threading.Thread(target=work, name="early").start()
            """,
        )
        wiring = "import service\nfrom concurrent_futures_fix import fix_concurrent_futures\n"
        repository.write("tests/conftest.py", wiring)
        repository.write("tests/test_it.py", "def test(): pass\n")
        result = repository.run("-W", "error", *options)
        assert_green_and_silent(result, passed=1)
        if named:
            result.stdout.fnmatch_lines(["*would not end*", "early runs on after the last test*"])
        else:
            result.stdout.no_fnmatch_line("*would not end*")

    def test_the_threads_of_a_program_that_runs_pytest_are_its_own(self, repository, pytester):
        repository.write("tests/test_it.py", "def test(): pass\n")
        repository.write(
            "program.py",
            """
            import threading
            import pytest

            over = threading.Event()
            thread = threading.Thread(target=lambda: print("worked:", over.wait(10)))
            thread.start()
            status = pytest.main(["-p", "no:cacheprovider"])
            over.set()
            raise SystemExit(status)
            """,
        )
        result = pytester.run(sys.executable, "program.py", timeout=60)
        result.assert_outcomes(passed=1)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["worked: True"])
        result.stdout.no_fnmatch_line("*would not end*")

    @pytest.mark.parametrize(
        ("module", "options", "status"),
        [("", [], 5), ("1 / 0", [], 2), ("def test(): pass", ["--collect-only"], 0)],
        ids=["no tests", "collection error", "collect only"],
    )
    def test_a_run_without_tests_ends_too(self, repository, module, options, status):
        repository.write(
            "tests/test_it.py",
            f"""
            import multiprocessing, threading, time, warnings
            from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

            threading.Thread(target=threading.Event().wait).start()
            lock = threading.Lock()
            lock.acquire()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                context = multiprocessing.get_context("fork")
                context.Process(target=time.sleep, args=[600]).start()
                ProcessPoolExecutor(1, mp_context=context).submit(time.sleep, 600)
            ThreadPoolExecutor(1, "blocked").submit(lock.acquire)
            {module}
            """,
        )
        result = repository.run(*options)
        assert result.ret == status
        assert result.stderr.str() == ""
        result.stdout.fnmatch_lines(["*would not end*", "blocked_0 runs on*"])

    def test_imported_under_two_names_it_works_once(self, repository):
        repository.write("tests/__init__.py", "")
        wiring = "from .concurrent_futures_fix import fix_concurrent_futures\n"
        repository.write("tests/conftest.py", wiring)
        wiring = "import sys\nsys.path.insert(0, 'tests')\n" + wiring.replace(" .", " ")
        repository.write("conftest.py", wiring)
        test = (
            "import threading\ndef test(): threading.Thread(target=threading.Event().wait).start()"
        )
        repository.write("tests/test_it.py", test)
        result = repository.run("-W", "error")
        assert_green_and_silent(result, passed=1)

    def test_a_plugin_gets_to_end_the_thread_that_it_has_started(self, repository):
        repository.write(
            "plugin.py",
            """
            import threading

            over, ended = threading.Event(), []

            def work():
                ended.append(over.wait(10))

            thread = threading.Thread(target=work)
            def pytest_sessionstart(): thread.start()

            def pytest_unconfigure():
                over.set()
                thread.join(10)
                print("ended:", ended)
            """,
        )
        repository.write("tests/test_it.py", "def test(): pass\n")
        result = repository.run("-W", "error", "-p", "plugin", "-s")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["ended: [[]True[]]"])

    @pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
    def test_an_interrupted_teardown_ends_too(self, repository, number):
        repository.write(
            "tests/test_it.py",
            f"""
            import signal, threading
            from concurrent.futures import ThreadPoolExecutor
            import pytest

            executor, lock = ThreadPoolExecutor(1, "blocked"), threading.Lock()
            lock.acquire()

            @pytest.fixture(scope="session")
            def server():
                yield
                signal.raise_signal(signal.{number})

            def test(server): executor.submit(lock.acquire)
            """,
        )
        result = repository.run()
        assert result.ret == (2 if number == "SIGINT" else 143)
        assert result.stderr.str() == ""
        result.stdout.fnmatch_lines(["*would not end*", "blocked_0 runs on*"])

    @pytest.mark.parametrize(
        "leak",
        [
            "multiprocessing.get_context('fork').Pool(2).apply(int)",
            "kept.append(multiprocessing.get_context('fork').Pool(2))",
            "kept.append(multiprocessing.Queue()); kept[0].put(bytes(1_000_000))",
            "executor.submit(lock.acquire); atexit.register(executor.shutdown)",
        ],
        ids=["pool", "kept pool", "full queue", "shutdown at exit"],
    )
    def test_what_python_waits_for_at_its_exit_cannot_keep_it(self, repository, leak):
        repository.write(
            "tests/test_it.py",
            f"""
            import atexit, multiprocessing, threading
            from concurrent.futures import ThreadPoolExecutor
            import pytest

            executor, lock, kept = ThreadPoolExecutor(1), threading.Lock(), []
            lock.acquire()

            @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
            @pytest.mark.filterwarnings("ignore:unclosed")
            def test(): {leak}
            """,
        )
        result = repository.run("-p", "no:unraisableexception")
        result.assert_outcomes(passed=1)
        assert result.ret == 0

    def test_an_earlier_fixture_of_the_session_has_its_executor_to_the_end(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            from concurrent.futures import ThreadPoolExecutor
            import pytest

            @pytest.fixture(scope="session", autouse=True)
            def a_reporter():
                executor = ThreadPoolExecutor(1)
                yield
                assert executor.submit(int, "7").result() == 7

            def test(): pass
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_threads_that_others_start_after_the_tests_are_theirs(self, repository, pytester):
        repository.write(
            "plugin.py",
            """
            import pathlib, threading

            over = threading.Event()

            def upload():
                over.wait(0.3)
                pathlib.Path("uploaded").touch()

            def pytest_unconfigure(): threading.Thread(target=upload).start()
            """,
        )
        repository.write("tests/test_it.py", "def test(): pass\n")
        repository.run("-W", "error", "-p", "plugin").assert_outcomes(passed=1)
        assert (pytester.path / "uploaded").exists()

    def test_a_forked_child_has_its_threads_as_always(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, threading, time
            import pytest

            def child(path):
                def late():
                    time.sleep(0.1)
                    path.touch()
                threading.Thread(target=late).start()

            @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
            def test(tmp_path):
                process = multiprocessing.get_context("fork").Process(
                    target=child, args=[tmp_path / "done"]
                )
                process.start()
                process.join()
                assert (tmp_path / "done").exists()
            """,
        )
        repository.run().assert_outcomes(passed=1)

    def test_a_thread_that_waits_for_a_process_is_not_named(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, threading, time
            from concurrent.futures import ThreadPoolExecutor
            import pytest

            context = multiprocessing.get_context("fork")

            def watch():  # as a supervisor does, that starts its process again
                while True:
                    process = context.Process(target=time.sleep, args=[600])
                    process.start()
                    begun.set()
                    process.join()

            begun = threading.Event()
            executor = ThreadPoolExecutor(1)

            @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
            @pytest.mark.parametrize("start", [
                lambda: threading.Thread(target=watch).start(), lambda: executor.submit(watch)
            ])
            def test(start):
                begun.clear()
                start()
                assert begun.wait(10)
            """,
        )
        result = repository.run()
        assert_green_and_silent(result, passed=2)
        result.stdout.no_fnmatch_line("*would not end*")

    @pytest.mark.parametrize(
        "task",
        [
            "await asyncio.sleep(600)",
            "await asyncio.gather(asyncio.sleep(600), asyncio.sleep(600))",
        ],
    )
    @pytest.mark.parametrize("run", ["loop.run_forever()", "loop.run_until_complete(task)"])
    def test_the_tasks_of_an_event_loop_end_in_silence(self, repository, run, task):
        repository.write(
            "tests/test_it.py",
            f"""
            import asyncio, threading

            begun = threading.Event()

            async def work():
                begun.set()
                {task}

            def serve():
                loop = asyncio.new_event_loop()
                task = loop.create_task(work())
                try:
                    {run}
                finally:
                    loop.close()

            def test_it():
                threading.Thread(target=serve).start()
                assert begun.wait(10)
            """,
        )
        result = repository.run("-W", "error")
        assert_green_and_silent(result, passed=1)

    def test_sigterm_is_no_exception_that_a_test_may_suppress(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import contextlib, os, signal, threading

            def test_one():
                with contextlib.suppress(Exception):
                    os.kill(os.getpid(), signal.SIGTERM)
                    threading.Event().wait(10)
            def test_two(): pass
            """,
        )
        result = repository.run()
        assert result.ret == 143
        result.assert_outcomes()

    def test_a_process_that_was_started_with_an_import_is_killed(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, time

            helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            helper.start()

            def test_it(): assert helper.is_alive()
            """,
        )
        assert_green_and_silent(repository.run(), passed=1)

    def test_a_process_that_a_test_leaves_is_killed(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, pytest, time

            @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
            def test_one():
                context = multiprocessing.get_context("fork")
                context.Process(target=time.sleep, args=[600]).start()
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=1)
        assert result.stderr.str() == ""

    def test_what_xdist_s_workers_report_is_seen(self, repository):
        pytest.importorskip("xdist")
        repository.write(
            "tests/conftest.py",
            """
            from concurrent.futures import ThreadPoolExecutor
            from concurrent_futures_fix import fix_concurrent_futures

            executor = ThreadPoolExecutor(1)
            def pytest_sessionfinish(): executor.submit(int)
            """,
        )
        repository.write(
            "tests/test_it.py",
            """
            import threading

            lock = threading.Lock()
            lock.acquire()

            def test_blocks(): threading.Thread(target=lock.acquire, name="stubborn").start()
            """,
        )
        result = repository.run("-W", "error", "-p", "xdist", "-n", "1")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [
                "*late submissions*",
                "1 x int, submitted at *",
                "*would not end*",
                "stubborn runs on *; it was started in tests/test_it.py::test_blocks.*",
            ]
        )

    @pytest.mark.parametrize("wiring", ["", "from concurrent_futures_fix import SafeExecutor"])
    def test_nothing_is_patched_outside_the_blocks(self, repository, wiring):
        repository.write("tests/conftest.py", wiring)
        repository.write(
            "tests/test_it.py",
            """
            import threading, time
            from concurrent_futures_fix import ConcurrentFuturesFix

            def patched(): return threading.Thread.start, threading.Condition.wait, time.sleep

            def test_it():
                before = patched()
                with ConcurrentFuturesFix():
                    assert not set(before) & set(patched())
                    with ConcurrentFuturesFix(): pass
                    assert not set(before) & set(patched())
                assert patched() == before
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_a_sleep_that_tests_replace_and_put_back_does_not_pile_up(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import time
            import pytest
            from concurrent_futures_fix import ConcurrentFuturesFix

            @pytest.fixture
            def service(monkeypatch):
                with ConcurrentFuturesFix(): yield

            sleeps = set()

            @pytest.mark.parametrize("number", range(3))
            def test_it(service, monkeypatch, number):
                sleeps.add(time.sleep)
                assert len(sleeps) == 1
                monkeypatch.setattr(time, "sleep", lambda seconds: None)
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=3)

    def test_a_forked_child_is_terminated_as_always(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, os, time
            import pytest

            def hang(ready):
                ready.set()
                while True:
                    try: time.sleep(1)
                    except Exception: pass

            @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
            def test_it():
                context = multiprocessing.get_context("fork")
                ready = context.Event()
                process = context.Process(target=hang, args=[ready])
                process.start()
                ready.wait()
                process.terminate()
                process.join(10)
                assert process.exitcode == -15
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_late_logging_is_not_heard(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import logging, threading, time

            def test_one():
                stream = logging.StreamHandler()  # pytest's captured stderr
                logging.getLogger().addHandler(stream)

            def log_for_ever():
                while True:
                    logging.warning("late")
                    time.sleep(0.0001)

            def test_two(): threading.Thread(target=log_for_ever).start()
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=2)
        assert result.stderr.str() == ""

    @pytest.mark.parametrize(
        ("ending", "status"),
        [
            ("signal.raise_signal(signal.SIGINT)", 2),
            ("signal.raise_signal(signal.SIGTERM)", 143),
            ("pytest.exit('enough', returncode=7)", 7),
        ],
    )
    def test_logging_after_an_interruption_is_not_heard(self, repository, ending, status):
        repository.write(
            "tests/conftest.py",
            """
            import logging, threading
            import pytest
            from concurrent_futures_fix import fix_concurrent_futures

            logging.getLogger("svc").addHandler(logging.StreamHandler())
            logged = threading.Semaphore(0)

            @pytest.fixture(scope="session", autouse=True)
            def torn_down_while_a_thread_logs(fix_concurrent_futures):
                yield
                while logged.acquire(blocking=False): pass
                for _ in range(3): assert logged.acquire(timeout=10)
            """,
        )
        repository.write(
            "tests/test_it.py",
            f"""
            import logging, signal, threading, time
            import pytest
            from conftest import logged

            def log_for_ever():
                while True:
                    logging.getLogger("svc").warning("late")
                    logged.release()
                    time.sleep(0.01)

            def test_one(): threading.Thread(target=log_for_ever).start()
            def test_two(): {ending}
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=1)
        assert result.ret == status
        assert result.stderr.str() == ""

    @pytest.mark.parametrize("fixed", [True, False])
    def test_the_interpreter_s_shutdown_is_no_error_any_more(self, repository, fixed):
        if not fixed:
            repository.write("tests/conftest.py", "")
        repository.write(
            "tests/test_it.py",
            """
            import atexit
            from concurrent.futures import ThreadPoolExecutor

            executor = ThreadPoolExecutor(1)
            atexit.register(executor.submit, int)

            def test_one(): pass
            """,
        )
        result = repository.run()
        result.assert_outcomes(passed=1)
        message = "cannot schedule new futures after interpreter shutdown"
        assert (message in result.stderr.str()) is not fixed
