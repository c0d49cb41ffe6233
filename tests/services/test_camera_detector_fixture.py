import pytest
from helpers.drop_in import (
    ALL_MODULES,
    CAMERA_SERVICE,
    SLOW_FIXTURE,
    Repository,
)

pytestmark = pytest.mark.usefixtures("few_plugins")

WIRING = (
    "from camera_detector_optimized_fixture import camera_detector_fast, pytest_sessionfinish\n"
)


@pytest.fixture
def repository(pytester):
    return Repository(pytester, ALL_MODULES).write("tests/conftest.py", WIRING)


class TestDetector:
    def test_is_real_and_at_rest(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    def test_it(camera_detector, session_mqtt_broker):
        assert type(camera_detector) is CameraDetector
        assert camera_detector.mqtt_client.is_connected()
        assert camera_detector.cameras == {}
        assert not camera_detector._thread.is_alive()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_runs_tasks_on_request(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    def test_explicit(camera_detector):
        camera_detector.test_run_discovery_once()
        assert camera_detector.cameras

    def test_although_it_thinks_that_it_is_stopped(camera_detector):
        camera_detector._running = False
        camera_detector.test_run_discovery_once()
        assert camera_detector.cameras
        assert camera_detector._running is False

    def test_in_the_background_and_not_any_more(camera_detector):
        for _ in range(2):
            camera_detector.cameras.clear()
            camera_detector.test_enable_background_tasks()
            while not camera_detector.cameras: pass
            camera_detector.test_disable_background_tasks()
            assert not camera_detector._thread.is_alive()
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=3)

    def test_says_which_task_it_lacks(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    def test_it(camera_detector): camera_detector.test_run_health_check_once()
            """,
        )
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*test_run_health_check_once() finds none of _run_health_check, *Name the method*"]
        )

    def test_nothing_of_it_is_left_to_the_next_test(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    import pytest, threading
    before = set(threading.enumerate())

    @pytest.mark.parametrize("number", range(3))
    def test_it(camera_detector, mqtt_monitor, shared_mqtt_pool, number):
        assert shared_mqtt_pool.ref_count == 1
        assert not shared_mqtt_pool.watch().know_retained()
        strangers = {t.name for t in set(threading.enumerate()) - before}
        assert len(strangers) <= 2, strangers  # the shared connection's, and the detector's
        camera_detector.test_enable_background_tasks()
        mqtt_monitor.wait_for("camera/discovery")
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=3)


class TestWhichClass:
    def test_the_one_that_the_test_module_sees(self, repository):
        # The same file under two names: two classes. Patches go to the one that is imported.
        repository.write("other_name.py", CAMERA_SERVICE)
        slow = SLOW_FIXTURE.replace("from service", "import other_name\n    from service")
        repository.write(
            "tests/test_it.py",
            slow
            + """
    def test_it(camera_detector):
        assert type(camera_detector) is CameraDetector is not other_name.CameraDetector
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_one_that_is_imported_inside_the_slow_fixture_only(self, repository):
        repository.write("detect.py", CAMERA_SERVICE)
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            @pytest.fixture
            def camera_detector():
                from detect import CameraDetector
                raise AssertionError("slow")

            def test_it(camera_detector): assert type(camera_detector).__module__ == "detect"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_none_is_one_clear_error(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            @pytest.fixture
            def camera_detector(): pass

            def test_it(camera_detector): pass
            """,
        )
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            ["No class CameraDetector was found*", "*return CameraDetector"]
        )
        result.stdout.no_fnmatch_line("*optimized_fixture.py:*")

    @pytest.mark.parametrize("seen", ["from other_name import CameraDetector", "import other_name"])
    def test_of_several_it_is_what_the_slow_fixture_saw(self, repository, seen):
        repository.write("other_name.py", CAMERA_SERVICE)
        wiring = (repository.tests / "conftest.py").read_text()
        slow = "import pytest\n@pytest.fixture\ndef camera_detector(): pass\n"
        repository.write("tests/conftest.py", f"{wiring}\n{seen}\n{slow}")
        repository.write(
            "tests/test_it.py",
            """
            def test_it(camera_detector):
                import service
                assert type(camera_detector).__module__ == "other_name"
            """,
        )
        repository.write("conftest.py", "import service")
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_several_are_one_clear_error(self, repository):
        repository.write("other_name.py", CAMERA_SERVICE)
        repository.write(
            "tests/test_it.py",
            """
            import other_name, pytest, service

            @pytest.fixture
            def camera_detector(): pass

            def test_it(camera_detector): pass
            """,
        )
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            ["There are several classes CameraDetector: *other_name.*service.*"]
        )

    def test_what_the_user_says(self, repository):
        repository.write("hidden.py", CAMERA_SERVICE)
        repository.write(
            "tests/conftest.py",
            WIRING
            + """
import pytest
@pytest.fixture(scope="session")
def camera_detector_class():
    from hidden import CameraDetector
    return CameraDetector
""",
        )
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    def test_it(camera_detector): assert type(camera_detector).__module__ == "hidden"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)


class TestTroubleshooting:
    def test_no_cameras(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE + "\n    def test_it(camera_detector): assert camera_detector.cameras\n",
        )
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*camera_detector.test_run_discovery_once()*"])

    def test_no_cameras_after_a_discovery_is_another_matter(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    def test_it(camera_detector):
        camera_detector.test_run_discovery_once()
        camera_detector.cameras.clear()
        assert camera_detector.cameras
            """,
        )
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.no_fnmatch_line("*Change from implicit to explicit*")

    def test_interpreter_shutdown(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            def test_it():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            """,
        )
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["Ensure concurrent_futures_fix is imported in conftest.py*"])

    def test_the_original_is_left_where_the_environment_says_so(self, repository, monkeypatch):
        monkeypatch.setenv("CAMERA_DETECTOR_FIXTURE", "original")
        repository.write(
            "tests/test_it.py", SLOW_FIXTURE + "\n    def test_it(camera_detector): pass\n"
        )
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*the slow fixture was used*"])
