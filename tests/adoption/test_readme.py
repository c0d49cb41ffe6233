"""The examples of README and of docs/ are run as they are printed, and what they name exists."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import camera_detector_optimized_fixture
import concurrent_futures_fix
import mqtt_test_broker
import optimized_service_fixture
import pytest
import shared_mqtt_pool
from helpers.drop_in import (
    ALL_MODULES,
    SLOW_FIXTURE,
    TESTS,
    Repository,
)
from mqtt_testing import REPLACED

ROOT = TESTS.parent
README, REFERENCE, ADOPTING = (
    ROOT / "README.md",
    ROOT / "docs" / "reference.md",
    ROOT / "docs" / "adopting.md",
)
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^][]*\]\(([^()\s]+)\)")

pytestmark = pytest.mark.usefixtures("few_plugins")


def blocks(text, language):
    """Return what is fenced as *language* in Markdown."""
    return [block for fence, block in FENCED.findall(text) if fence == language]


def prose(page):
    """Return a page without what is fenced."""
    return FENCED.sub("", page.read_text())


def example(first_words, page=README):
    """Return the Python example of a page that contains some words."""
    [found] = [text for text in blocks(page.read_text(), "python") if first_words in text]
    return found


@pytest.fixture
def repository(pytester):
    return Repository(pytester, ALL_MODULES)


def write_plainly(repository, path, text):
    (repository.tests.parent / path).write_text(text)


# --- README's examples ------------------------------------------------------------------------

IMPORTS = "from shared_mqtt_pool import mqtt_client"
CAMERA_IMPORTS = "camera_detector_fast,"


def test_the_first_example_and_the_imports_it_needs(repository):
    write_plainly(repository, "tests/conftest.py", example(IMPORTS))
    write_plainly(repository, "tests/test_it.py", example("def test_status(mqtt_client"))
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_the_camera_detector(repository):
    write_plainly(repository, "tests/conftest.py", example(CAMERA_IMPORTS))
    after = example("# Explicit discovery").partition("# After\n")[2]
    repository.write("tests/test_it.py", SLOW_FIXTURE)
    with (repository.tests / "test_it.py").open("a") as file:
        file.write(after)
    repository.run("-W", "error").assert_outcomes(passed=1)


def test_any_other_service(repository):
    """The whole suite of the irrigation service runs on the dozen lines, and the new test too."""
    shutil.copytree(TESTS / "helpers" / "irrigation", repository.tests.parent / "irrigation")
    [suite] = TESTS.rglob("test_irrigation.py")
    text = suite.read_text().replace("helpers.irrigation", "irrigation")
    after = example("irrigation.run_round_once()").partition("# After\n")[2]
    write_plainly(repository, "tests/test_it.py", text + after)
    write_plainly(repository, "tests/conftest.py", example(IMPORTS) + example("fast_irrigation"))
    result = repository.run("-W", "error")
    assert result.ret == pytest.ExitCode.OK, result.outlines


def test_they_are_the_lines_of_this_repository():
    lines = example("fast_irrigation").partition("\n\n")[2]
    assert lines in (TESTS / "conftest.py").read_text()


def test_suites_without_fixtures(repository):
    write_plainly(repository, "tests/conftest.py", example("def every_client", ADOPTING))
    repository.write(
        "tests/test_it.py",
        """
        from service import new_client
        def test_it():
            client = new_client("any")
            client.connect("localhost")
            client.loop_stop()
            client.disconnect()
        """,
    )
    repository.run("-W", "error").assert_outcomes(passed=1)


# --- Copying ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [README, ADOPTING], ids=lambda page: page.name)
def test_it_says_to_copy_the_folder_and_all_doors(page):
    [names] = re.findall(r"cp -r tests/mqtt_testing tests/\{(.*?)\}\.py ", page.read_text())
    assert sorted(names.split(",")) == sorted(ALL_MODULES)


def test_a_repository_that_was_filled_by_the_command(pytester):
    """What it copies is all that the example needs."""
    (pytester.path / "tests").mkdir()
    [command] = [text for text in blocks(README.read_text(), "sh") if text.startswith("cp -r ")]
    command = command.replace("/path/to/your/repository", str(pytester.path))
    subprocess.run(["bash", "-c", command], cwd=ROOT, check=False, capture_output=True)
    conftest, test = example(IMPORTS), example("def test_status(mqtt_client")
    pytester.makepyfile(**{"tests/conftest": conftest, "tests/test_it": test})
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", timeout=60)
    result.assert_outcomes(passed=1)


LINES_FOR_CONFTEST = [
    block
    for page in PAGES
    for block in blocks(page.read_text(), "python")
    if re.search(rf"^from ({'|'.join(ALL_MODULES)}) import", block, re.MULTILINE)
]


@pytest.mark.parametrize("lines", LINES_FOR_CONFTEST)
def test_linters_leave_the_lines_for_conftest_alone(tmp_path, lines):
    conftest = tmp_path / "conftest.py"
    conftest.write_text(lines)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--fix", "--no-cache"]
    run = subprocess.run([*ruff, conftest], check=False, capture_output=True, text=True)
    assert (run.returncode, conftest.read_text()) == (0, lines), run.stdout


def test_the_settings_keep_ruff_off_the_copied_files(tmp_path):
    settings = [text for text in blocks(ADOPTING.read_text(), "toml") if "[tool.ruff]" in text]
    (tmp_path / "pyproject.toml").write_text("".join(settings))
    (tmp_path / "tests" / "mqtt_testing" / "broker").mkdir(parents=True)
    copied = [f"tests/{name}.py" for name in ALL_MODULES]
    for path in [*copied, "tests/mqtt_testing/broker/process.py", "tests/test_it.py"]:
        (tmp_path / path).write_text("import os\n")  # which is not used
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    run = subprocess.run(ruff, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert re.findall(r"^(.*?):1:", run.stdout, re.MULTILINE) == ["tests/test_it.py"]


# --- When an import fails ---------------------------------------------------------------------

PLAIN, ONE_DOT, TWO_DOTS = (
    f"from {dots}shared_mqtt_pool import mqtt_client" for dots in ("", ".", "..")
)
NO_PARENT = "attempted relative import with no known parent package"
NO_DOOR = "No module named 'shared_mqtt_pool'"
WITHOUT_IT = [name for name in ALL_MODULES if name != "shared_mqtt_pool"]
IMPORTLIB = ["--import-mode=importlib"]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"line": ONE_DOT}, NO_PARENT),
        ({"line": PLAIN}, ""),
        ({"line": PLAIN, "package": True}, NO_DOOR),
        ({"line": ONE_DOT, "package": True}, ""),
        ({"line": PLAIN, "doors": WITHOUT_IT}, NO_DOOR),
        ({"line": PLAIN, "arguments": IMPORTLIB}, NO_DOOR),
        ({"line": PLAIN, "arguments": [*IMPORTLIB, "-o", "pythonpath=tests"]}, ""),
        ({"line": PLAIN, "folder": "unit/"}, NO_DOOR),
        (
            {"line": ONE_DOT, "package": True, "doors": WITHOUT_IT},
            "No module named 'tests.shared_mqtt_pool'",
        ),
        (
            {"line": ONE_DOT, "package": True, "folder": "unit/"},
            "No module named 'tests.unit.shared_mqtt_pool'",
        ),
        ({"line": TWO_DOTS, "package": True, "folder": "unit/"}, ""),
    ],
)
def test_the_table_has_the_error_of_a_failing_import(pytester, layout, message):
    package = layout.get("package", False)
    repository = Repository(pytester, layout.get("doors", ALL_MODULES), package=package)
    unit = repository.tests / "unit"
    unit.mkdir()
    if package:
        (unit / "__init__.py").touch()
    repository.write(f"tests/{layout.get('folder', '')}conftest.py", layout["line"])
    repository.write("tests/unit/test_it.py", "def test_it(mqtt_client): pass")
    result = repository.run(*layout.get("arguments", []))
    if message:
        assert message in result.stdout.str() + result.stderr.str()
        assert f"| `{message}` |" in ADOPTING.read_text()
    else:
        result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("door", "missing", "remedy"),
    [
        ("shared_mqtt_pool", "mqtt_testing", "copy the folder, too"),
        ("optimized_service_fixture", "concurrent_futures_fix", "copy concurrent_futures_fix.py"),
        ("shared_mqtt_pool", "paho", "pip install paho-mqtt"),
        ("optimized_service_fixture", "paho", "pip install paho-mqtt"),
        ("camera_detector_optimized_fixture", "paho", "pip install paho-mqtt"),
    ],
)
def test_the_line_that_fails_says_what_is_missing(pytester, door, missing, remedy):
    repository = Repository(pytester, ALL_MODULES, warm=False)
    repository.write(f"tests/{missing}.py", f"raise ModuleNotFoundError('{missing}')")
    if missing == "mqtt_testing":
        shutil.rmtree(repository.tests / missing)
    repository.write("tests/conftest.py", f"import {door}")
    result = repository.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*import*  # {remedy}*", f"E*ModuleNotFoundError: {missing}"])


# --- The reference ----------------------------------------------------------------------------


def repositories():
    """Yield what belongs together: all examples without a conftest.py; each section with one."""
    parts = re.split(r"^(?:##|###) (.*)\n", REFERENCE.read_text(), flags=re.MULTILINE)
    without = []
    for title, text in zip(parts[1::2], parts[2::2]):
        examples = blocks(text, "python")
        if any("# tests/conftest.py" in example for example in examples):
            yield pytest.param(examples, id=title.strip("`").replace(" ", "-"))
        else:
            without += examples
    yield pytest.param(without, id="without-a-conftest")


@pytest.mark.parametrize("examples", list(repositories()))
def test_the_examples_of_the_reference(repository, examples):
    [common, *_] = blocks(REFERENCE.read_text(), "python")
    files = {"tests/conftest.py": common.partition("\n")[2]}
    for text in examples:
        path, _, code = text.partition("\n")
        assert re.fullmatch(r"# tests/\w+\.py", path), "its first line names its file"
        files[path[2:]] = files.get(path[2:], "") + code
    for path, code in files.items():
        write_plainly(repository, path, code)
    result = repository.run("-W", "error")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    tests = [code for path, code in files.items() if path.startswith("tests/test_")]
    assert result.parseoutcomes()["passed"] == "".join(tests).count("def test_")


def fixtures_of(repository):
    """Return the fixtures that pytest lists for a repository that imports all modules."""
    imports = "".join(f"import {module}\n" for module in ALL_MODULES)
    imports += "from mqtt_test_broker import mosquitto\n"  # which works by its name alone
    write_plainly(repository, "tests/conftest.py", f"{imports}{example(IMPORTS)}")
    lines = repository.run("--fixtures", "tests").outlines
    matches = [re.match(r"(\w+)(?: \[\w+ scope\])? -- tests/(.+?):", line) for line in lines]
    return {match[1] for match in matches if match and match[2] != "conftest.py"}


def test_every_fixture_is_in_the_reference(repository):
    at_a_glance = prose(REFERENCE).partition("## Fixtures at a glance")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| \[`(\w+)`\]", at_a_glance, re.MULTILINE)) == fixtures_of(repository)


def test_every_name_of_a_door_is_in_the_reference():
    names = {
        name
        for module in (mqtt_test_broker, shared_mqtt_pool, optimized_service_fixture)
        for name in vars(module)
        if not name.startswith("_") and name not in ("annotations", "TYPE_CHECKING")
    }
    names |= {*camera_detector_optimized_fixture.__all__}
    assert [name for name in names if f"`{name}" not in prose(REFERENCE)] == []


def section_of(title):
    """Return what the reference has below a heading."""
    return REFERENCE.read_text().partition(f"### {title}\n")[2].partition("\n###")[0]


@pytest.mark.parametrize(
    ("title", "documented"),
    [
        ("`TestMQTTBroker`", mqtt_test_broker.TestMQTTBroker),
        ("`redirect_to_test_broker`", shared_mqtt_pool.redirect_to_test_broker),
        ("`service_fixture`", optimized_service_fixture.service_fixture),
    ],
    ids=["broker", "redirection", "service"],
)
def test_the_arguments_in_the_reference_are_those_that_there_are(title, documented):
    [table] = re.findall(r"^\| (?:option|argument) \|.*\n((?:\|.*\n)+)", section_of(title), re.M)
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`\*?(\w+)", cell)}
    assert names == set(inspect.signature(documented).parameters)


def test_the_signature_in_the_reference_is_whole():
    [options] = re.findall(
        r"`service_fixture\(service, \*, (.*?)\)` makes", section_of("`service_fixture`"), re.S
    )
    _service, *parameters = inspect.signature(optimized_service_fixture.service_fixture).parameters
    assert re.findall(r"(\w+)=", options) == parameters


@pytest.mark.parametrize(
    ("title", "documented"),
    [
        ("`TestMQTTBroker`", mqtt_test_broker.TestMQTTBroker()),
        ("`mqtt_monitor`", shared_mqtt_pool.MQTTMonitor),
        ("`SharedMQTTPool`", shared_mqtt_pool.SharedMQTTPool),
        ("`SafeExecutor`", concurrent_futures_fix.SafeExecutor),
    ],
    ids=["broker", "monitor", "pool", "executor"],
)
def test_the_methods_in_the_reference_exist(title, documented):
    tables = re.split(
        r"^\| (?:attribute|method|attribute or method) \|", section_of(title), flags=re.M
    )
    cells = re.findall(r"^\| (`.*?) \|", "\n".join(tables[1:]), re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`(\w+)", cell)]
    assert names
    assert [name for name in names if not hasattr(documented, name)] == []


def test_the_environment_variables_in_the_reference_are_used():
    section = prose(REFERENCE).partition("## Environment variables")[2].partition("\n## ")[0]
    names = set(re.findall(r"`((?:MQTT|CAMERA)_\w+)`", section))
    ours = [*(TESTS / f"{name}.py" for name in ALL_MODULES), *TESTS.glob("mqtt_testing/**/*.py")]
    source = "".join(path.read_text() for path in ours)
    assert names
    assert [name for name in names if f'"{name}"' not in source] == []


# --- All pages --------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_compiles(page):
    for number, text in enumerate(blocks(page.read_text(), "python"), 1):
        compile(text, f"{page.name}, example {number}", "exec")


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(page, link):
    if re.match(r"https?:", link):
        return False
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_lead_somewhere(page):
    assert [link for link in LINK.findall(prose(page)) if leads_nowhere(page, link)] == []


def test_every_page_can_be_reached_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(README))}
    assert {page for page in PAGES if page != README} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_targets_of_make_and_the_scripts_exist(page):
    text = page.read_text()
    targets = set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE))
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= known
    scripts = re.findall(r"\bscripts/[\w.]+", text)
    assert [script for script in scripts if not Path(ROOT, script).exists()] == []


def test_everything_that_is_replaced_is_in_the_documentation():
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    names = [name for entry in REPLACED for name in entry.names.split()]
    missing = [name for name in names if name.rpartition(".")[2] not in page]
    assert missing == []
