import pytest
from helpers.drop_in import ALL_MODULES, Repository, copy_modules
from mqtt_testing import pytest_internals


@pytest.mark.parametrize("name", pytest_internals.NEEDED)
def test_pytest_has_what_the_kit_needs(name):
    assert pytest_internals.is_there(name)


@pytest.mark.parametrize(
    "name",
    [
        "FixtureManager.no_such_method",
        "NoSuchClass.attribute",
        "Function._no_such_attribute",
        "fixture._neither or _nor",
    ],
)
def test_what_it_lacks_is_one_clear_error(monkeypatch, name):
    monkeypatch.setattr(pytest, "version_tuple", (10, 0, 1))
    monkeypatch.setattr(pytest_internals, "NEEDED", (*pytest_internals.NEEDED, name))
    with pytest.raises(ImportError) as error:
        pytest_internals.check_pytest()
    assert str(error.value) == (
        f"pytest 10.0 has no {name}: update the folder mqtt_testing, or pin pytest<10.0"
    )


def test_it_is_checked_as_a_door_is_imported(pytester):
    pytester.makepyfile(
        lacking="""
        from _pytest.fixtures import FixtureManager
        getfixturedefs = FixtureManager.getfixturedefs
        del FixtureManager.getfixturedefs
        """,
        conftest="import lacking, mqtt_test_broker",
    )
    copy_modules(["mqtt_test_broker"], pytester.path)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*ImportError: pytest * has no FixtureManager.getfixturedefs: update the folder*"]
    )


@pytest.mark.usefixtures("few_plugins")
def test_a_test_of_a_plugin_s_own_kind_has_no_fixtures(pytester):
    repository = Repository(pytester, ALL_MODULES)
    repository.write(
        "tests/conftest.py",
        """
        import pytest
        from camera_detector_optimized_fixture import camera_detector_fast

        class Line(pytest.Item):
            def runtest(self): pass

        class Text(pytest.File):
            def collect(self): yield Line.from_parent(self, name="line")

        def pytest_collect_file(file_path, parent):
            return Text.from_parent(parent, path=file_path) if file_path.suffix == ".txt" else None
        """,
    )
    repository.write("tests/test_it.txt", "")
    repository.run("-W", "error").assert_outcomes(passed=1)
