import subprocess
import sys
from pathlib import Path

import pytest
from helpers.drop_in import ALL_MODULES, SLOW_FIXTURE, Repository, few_plugins  # noqa: F401

pytestmark = pytest.mark.usefixtures("few_plugins")

WIRING = "from camera_detector_optimized_fixture import *\n"


@pytest.fixture
def repository(pytester):
    return Repository(pytester, ALL_MODULES).write("tests/conftest.py", WIRING)


class TestDoor:
    def test_a_star_brings_the_fixtures_and_no_hooks(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW_FIXTURE
            + """
    def test_it(camera_detector, camera_detector_class, ultra_fast_detector):
        assert type(camera_detector) is camera_detector_class is CameraDetector

    def test_names():
        import conftest
        assert conftest.camera_detector_fast
        assert conftest.optimize_camera_detector_fixture
        assert not [name for name in vars(conftest) if name.startswith("pytest_")]
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_the_hooks_are_there_by_name(self):
        import camera_detector_optimized_fixture as door

        assert callable(door.pytest_collectstart)
        assert callable(door.pytest_sessionfinish)

    def test_hooks_that_a_conftest_imports_say_nothing_twice(self, repository):
        wiring = WIRING.replace(
            "*", "camera_detector_fast, pytest_collectstart, pytest_sessionfinish"
        )
        repository.write("tests/conftest.py", wiring)
        repository.write("tests/test_it.py", "def test_it(): pass")
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=1)
        assert result.stdout.str().count("camera_detector: nothing was overridden.") == 1

    def test_mocks_are_imported_where_they_are_asked_for(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import sys

            def test_start(): assert "unittest.mock" not in sys.modules

            def test_it(ultra_fast_detector):
                assert ultra_fast_detector.cameras == {}
                assert ultra_fast_detector.mqtt_connected is True
                assert ultra_fast_detector.anything()
            """,
        )
        repository.run("-W", "error", "-p", "no:randomly").assert_outcomes(passed=2)

    def test_the_import_path_is_as_before_after_the_run(self, repository):
        repository.write("tests/test_it.py", SLOW_FIXTURE + "\n    def test_it(): pass\n")
        repository.write(
            "run.py",
            """
            import sys, pytest

            before = list(sys.meta_path)
            assert pytest.main(["-q", "-p", "no:cacheprovider", "tests"]) == 0
            names = [type(finder).__name__ for finder in sys.meta_path]
            added = [finder for finder in sys.meta_path if finder not in before]
            assert not added, names
            print("as before")
            """,
        )
        result = repository._pytester.run(sys.executable, "run.py", timeout=60)
        result.stdout.fnmatch_lines(["as before"])

    @pytest.mark.parametrize("importer", ["conftest.py", "elsewhere.py"])
    def test_an_import_of_tests_is_explained_to_a_conftest_only(self, repository, importer):
        statement = "import tests.test_detect  # to replace its fixture\n"
        repository.write("tests/elsewhere.py", "import pytest\n" + statement)
        repository.write("tests/test_detect.py", "def test_it(): pass")
        line = "import elsewhere\n" if importer == "elsewhere.py" else statement
        repository.write("tests/conftest.py", WIRING + line)
        command = [str(Path(sys.executable).with_name("pytest")), "-p", "no:cacheprovider"]
        result = subprocess.run(
            command, cwd=repository.tests.parent, capture_output=True, text=True, check=False
        )
        assert result.returncode == pytest.ExitCode.USAGE_ERROR
        assert "No module named 'tests" in result.stderr
        explanation = f"delete `{statement.strip()}` and what is assigned"
        assert (explanation in result.stderr) is (importer == "conftest.py")


class TestForAnyService:
    """What the camera detector's door does is there for other services, too."""

    WIRING = """
    import optimized_service_fixture
    from mqtt_testing.services.plugin import (
        class_fixture, override_fixture, remind_of_task, service_fixture,
    )

    lamp_class = class_fixture("Lamp", modules=["lamps"], overridden="lamp")
    fast_lamp = service_fixture("lamp_class", tasks={"run_round_once": "_round"})
    override_fixture("lamp", fast_lamp)
    remind_of_task("run_round_once", of="lamp", result="rounds")
"""

    @pytest.fixture
    def repository(self, repository):
        repository.write(
            "lamps.py",
            """
            class Lamp:
                def __init__(self): self.rounds = []
                def _round(self): self.rounds.append(1)
                def stop(self): pass
            """,
        )
        repository.write("tests/test_it.py", self.TEST)
        return repository.write("tests/conftest.py", self.WIRING)

    TEST = """
        import pytest

        @pytest.fixture
        def lamp(): raise AssertionError("slow")

        def test_it(lamp):
            lamp.run_round_once()
            assert lamp.rounds
    """

    def test_its_class_is_found(self, repository):
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_its_class_may_be_missing(self, repository):
        (repository.tests.parent / "lamps.py").unlink()
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["No class Lamp was found*", "*def lamp_class():"])

    def test_a_task_that_was_not_run(self, repository):
        repository.write("tests/test_it.py", self.TEST.replace("lamp.run_round_once()", "pass"))
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["There are no rounds, *explicit: lamp.run_round_once()"])

    def test_an_old_fixture(self, repository, monkeypatch):
        monkeypatch.setenv("CAMERA_DETECTOR_FIXTURE", "original")
        test = self.TEST.replace('raise AssertionError("slow")', "return object()")
        repository.write("tests/test_it.py", test)
        result = repository.run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["Using old fixture. *takes the place of lamp,*"])

    def test_a_fixture_that_is_called(self, repository):
        wrong = "\n    import pytest\n    @pytest.fixture\n    def lamp(): return fast_lamp()\n"
        other = "\n    @pytest.fixture\n    def light(): return fast_lamp()\n"
        repository.write("tests/conftest.py", self.WIRING + wrong + other)
        repository.write("tests/test_it.py", "def test_it(lamp): pass\ndef test_light(light): pass")
        result = repository.run()
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*by name instead: *def lamp(fast_lamp): return fast_lamp*"])
        result.stdout.fnmatch_lines(["*conftest.py:*this lamp was not used. Delete it*"])
