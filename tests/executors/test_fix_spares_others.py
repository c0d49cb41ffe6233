"""What is not a test's own goes on as if the module were not there."""

import sys

import pytest
from helpers.drop_in import assert_green_and_silent


@pytest.mark.usefixtures("few_plugins")
class TestWhatIsOthers:
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

    def test_nothing_is_patched_outside_the_blocks(self, repository):
        repository.write("tests/conftest.py", "")
        repository.write(
            "tests/test_it.py",
            """
            from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
            from concurrent_futures_fix import ConcurrentFuturesFix, SafeExecutor

            def patched(): return ThreadPoolExecutor.__init__, ProcessPoolExecutor.__init__

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
