"""What a suite leaves behind ends with its run, in silence, whatever ends that."""

import pytest
from helpers.drop_in import assert_green_and_silent


@pytest.mark.usefixtures("few_plugins")
class TestEndOfRun:
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
    def test_a_thread_from_before_the_fixture_is_named_and_let_go(self, repository, place, work):
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
        result.stdout.fnmatch_lines(["*would not end*", "*runs on after the last test; *"])

    @pytest.mark.parametrize("work", ["time.sleep(0.01)", "threading.Event().wait()"])
    @pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n", "1"]], ids=["alone", "xdist"])
    def test_a_thread_from_before_the_import_cannot_keep_the_run(self, repository, work, options):
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
        result.stdout.fnmatch_lines(["*would not end*", "early runs on after the last test*"])

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

    def test_an_interrupted_teardown_ends_too(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import signal, threading
            from concurrent.futures import ThreadPoolExecutor
            import pytest

            executor, lock = ThreadPoolExecutor(1, "blocked"), threading.Lock()
            lock.acquire()

            @pytest.fixture(scope="session")
            def server():
                yield
                signal.raise_signal(signal.SIGINT)

            def test(server): executor.submit(lock.acquire)
            """,
        )
        result = repository.run()
        assert result.ret == 2
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

    def test_a_thread_that_waits_for_a_process_is_not_named(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import multiprocessing, threading, time
            from concurrent.futures import ThreadPoolExecutor
            import pytest

            context = multiprocessing.get_context("fork")

            def watch():
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

    @pytest.mark.parametrize("ending", ["pass", "assert 0", "raise KeyboardInterrupt"])
    @pytest.mark.parametrize("close", ["loop.close()", "pass"])
    def test_a_task_that_is_left_ends_in_silence(self, repository, ending, close):
        repository.write(
            "tests/test_it.py",
            f"""
            import asyncio

            def test_it():
                global task, failed
                loop = asyncio.new_event_loop()
                task = loop.create_task(asyncio.sleep(600))
                failed = loop.create_future()
                failed.set_exception(ValueError("never retrieved"))
                loop.run_until_complete(asyncio.sleep(0))
                {close}
                {ending}
            """,
        )
        assert repository.run().stderr.str() == ""

    def test_a_program_that_runs_pytest_hears_of_its_own_tasks(self, repository, pytester):
        repository.write("tests/test_it.py", "import asyncio\ndef test(): pass\n")
        repository.write(
            "program.py",
            """
            import asyncio, pytest

            assert pytest.main([]) == 0
            loop = asyncio.new_event_loop()
            loop.create_future().set_exception(ValueError("never retrieved"))
            loop.close()
            """,
        )
        result = pytester.runpython("program.py")
        result.stderr.fnmatch_lines(["*exception was never retrieved*"])

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
            interrupted, logged = threading.Event(), threading.Semaphore(0)

            def pytest_keyboard_interrupt(): interrupted.set()

            @pytest.fixture(scope="session", autouse=True)
            def torn_down_while_a_thread_logs(fix_concurrent_futures):
                yield
                for _ in range(3): assert logged.acquire(timeout=10)
            """,
        )
        repository.write(
            "tests/test_it.py",
            f"""
            import logging, signal, threading, time
            import pytest
            from conftest import interrupted, logged

            def log_for_ever():
                interrupted.wait()  # what comes before is heard, as always
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
