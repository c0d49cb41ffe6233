"""README's examples are run as they are printed."""

import re
import shutil

import pytest
from helpers.drop_in import (
    ALL_MODULES,
    SLOW_FIXTURE,
    TESTS,
    Repository,
)

README = TESTS.parent / "README.md"

pytestmark = pytest.mark.usefixtures("few_plugins")


def example(first_words):
    """Return the Python example of README that contains some words."""
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    [found] = [text for text in examples if first_words in text]
    return found


@pytest.fixture
def repository(pytester):
    return Repository(pytester, ALL_MODULES)


def write_plainly(repository, path, text):
    (repository.tests.parent / path).write_text(text)


def test_the_first_example_and_the_imports_it_needs(repository):
    imports = example("from mqtt_test_broker import isolated_mqtt_broker")
    write_plainly(repository, "tests/conftest.py", imports)
    write_plainly(repository, "tests/test_it.py", example("def test_status(mqtt_client"))
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_the_camera_detector(repository):
    wiring = example("import camera_detector_fast, pytest_sessionfinish")
    write_plainly(repository, "tests/conftest.py", wiring)
    after = example("# After").partition("# After\n")[2]
    repository.write("tests/test_it.py", SLOW_FIXTURE)
    with (repository.tests / "test_it.py").open("a") as file:
        file.write(after)
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_any_other_service(repository):
    """The whole suite of the irrigation service runs on the dozen lines."""
    shutil.copytree(TESTS / "helpers" / "irrigation", repository.tests.parent / "irrigation")
    suite = (TESTS / "test_irrigation.py").read_text()
    write_plainly(repository, "tests/test_it.py", suite.replace("helpers.irrigation", "irrigation"))
    imports = example("from mqtt_test_broker import isolated_mqtt_broker")
    write_plainly(repository, "tests/conftest.py", imports + example("fast_irrigation"))
    result = repository.run("-W", "error")
    assert result.ret == pytest.ExitCode.OK, result.outlines


def test_they_are_the_lines_of_this_repository():
    lines = example("fast_irrigation").partition("\n\n")[2]
    assert lines in (TESTS / "conftest.py").read_text()


def test_suites_without_fixtures(repository):
    write_plainly(repository, "tests/conftest.py", example("def every_client"))
    repository.write(
        "tests/test_it.py",
        """
        from service import new_client
        def test_it():
            client = new_client("any")
            client.connect("broker.example.invalid")
            client.loop_stop()
            client.disconnect()
        """,
    )
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_the_modules_that_it_says_to_copy_are_all_of_them():
    [names] = re.findall(r"cp tests/\{(.*?)\}\.py", README.read_text())
    assert tuple(names.split(",")) == ALL_MODULES
