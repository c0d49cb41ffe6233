"""The settings that docs/adopting.md prints keep tools off the copied files, and off no others.

What is not in .venv is skipped; `make matrix ARGS="--session settings"` installs it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.drop_in import ALL_MODULES, TESTS, copied_files, copy_modules

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_, FAILING_IMPORT, _, COPIED = re.split(
    r"^## (?:When an import fails|Troubleshooting|The copied files)\n",
    (TESTS.parent / "docs" / "adopting.md").read_text(),
    flags=re.MULTILINE,
)


def printed(text, language):
    """Return what is fenced as *language*, with an empty line between blocks."""
    return "\n".join(block for fence, block in FENCED.findall(text) if fence == language)


# Something for each tool to find: an unused import, no docstring, no types, no format.
FAULT = "\nimport json\ndef  planted( x ):\n    return x+'1'\n"

# For pytest the imports are the use, and the parameter is the fixture.
CONFTEST = """\
\"\"\"Fixtures of a doorbell.\"\"\"

import pytest

from DOTcamera_detector_optimized_fixture import camera_detector_fast
from DOTconcurrent_futures_fix import fix_concurrent_futures
from DOTmqtt_test_broker import session_mqtt_broker
from DOToptimized_service_fixture import service_fixture
from DOTshared_mqtt_pool import mqtt_client


@pytest.fixture
def bell(mqtt_client):
    \"\"\"Return what rings.\"\"\"
    return mqtt_client
"""

TEST = """\
\"\"\"Tests of a doorbell.\"\"\"

from DOTmqtt_testing_own import BELL
from DOTshared_mqtt_pool import MQTTMonitor


def test_rings(bell, mqtt_monitor: MQTTMonitor) -> None:
    \"\"\"Test that it is heard.\"\"\"
    bell.publish(BELL, "on")
    mqtt_monitor.wait_for(BELL)


def misspelt(monitor: MQTTMonitor) -> object:
    \"\"\"Return what there is not; only mypy looks.\"\"\"
    return monitor.rings
"""

HOOK = """
repos:
  - repo: local
    hooks:
      - {id: flake8, name: flake8, language: system, types: [python], entry: flake8 --isolated}
"""


class Tool(NamedTuple):
    """A command that is to find a fault in each of the user's files."""

    command: str
    silent: str = ""
    """The one file in which the settings excuse it."""
    says: str = ""
    """What it is to say, too."""


# As a hook names them. Those of the folder are the business of the ruff.toml in it.
NAMED = "$(git ls-files '*.py' ':!tests/mqtt_testing')"
CONFTEST_ONLY = "tests/conftest.py"
ATTRIBUTES = "linguist-vendored linguist-generated gitlab-generated"
TOOLS = [
    Tool("ruff check --no-cache"),
    Tool(f"ruff check --no-cache {NAMED}"),
    Tool("ruff check --no-cache --select F401,F811", silent=CONFTEST_ONLY),
    Tool("ruff format --no-cache --check"),
    Tool("flake8"),
    Tool("flake8 --select F401,F811", silent=CONFTEST_ONLY),
    Tool("pylint --recursive=y ."),
    Tool("black --check ."),
    Tool("isort --profile black --check ."),
    Tool("pre-commit run --all-files"),
    # It knows the types of what is copied, or it would say nothing of that.
    Tool("mypy --strict .", says='"MQTTMonitor" has no attribute "rings"'),
    Tool("coverage run --source . -m pytest && coverage report", says="1 passed"),
    Tool(f"git ls-files -- ':(exclude,attr:{ATTRIBUTES})'"),
]


@pytest.fixture
def repository(tmp_path, package):
    """A repository with all that is copied, all settings, and a fault in every file."""
    tests = tmp_path / "tests"
    tests.mkdir()
    copy_modules(ALL_MODULES, tests)
    if package:
        (tests / "__init__.py").touch()
    dot = "." if package else ""
    (tests / "conftest.py").write_text(CONFTEST.replace("DOT", dot))
    (tests / "test_doorbell.py").write_text(TEST.replace("DOT", dot))
    for name in ("doorbell.py", "tests/mqtt_testing_own.py", "tests/test_shared_mqtt_pool.py"):
        (tmp_path / name).write_text('"""One of the user\'s files."""\n\nBELL = "bell"\n')
    for path in tmp_path.rglob("*.py"):
        path.write_text(path.read_text() + FAULT)
    write_settings(tmp_path, package)
    return tmp_path


def write_settings(folder, package):
    """Write all settings, changed as the page says."""
    settings = printed(COPIED, "toml").replace(
        "[tool.ruff]\n", "[tool.ruff]\nforce-exclude = true\n"
    )
    above, skipping, below = re.split(
        r"(^\[\[tool\.mypy\.overrides]]\nmodule = \"\w+\"\n.*\n)", settings, flags=re.MULTILINE
    )
    if package:
        above = re.sub(rf'^    "({"|".join(ALL_MODULES)})"', r'    "tests.\1"', above, flags=re.M)
        above = above.replace("[tool.mypy]\n", '[tool.mypy]\nmypy_path = "tests"\n')
        settings = above + skipping + below
    else:
        settings = above + below
    settings += '\n[tool.ruff.lint]\nselect = ["ALL"]\n'
    (folder / "pyproject.toml").write_text(settings)
    (folder / ".flake8").write_text(printed(COPIED, "ini"))
    (folder / ".pre-commit-config.yaml").write_text(printed(COPIED, "yaml") + HOOK)
    (folder / ".gitattributes").write_text(printed(COPIED, ""))


def run(folder, command):
    """Return what a command says; the tools are those installed beside this Python."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "COV"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PRE_COMMIT_HOME"] = str(folder / ".git" / "pre-commit")
    environment["GIT_CONFIG_GLOBAL"] = os.devnull
    result = subprocess.run(
        ["bash", "-c", f"git init -q && git add . && {command}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("package", [False, True], ids=["folder", "package"])
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.command)
def test_a_tool_reports_the_users_files_alone(repository, tool):
    name = tool.command.split()[0]
    if name != "git" and not shutil.which(name, path=Path(sys.executable).parent):
        pytest.skip(f"{name} is not installed here")
    said = run(repository, tool.command)
    there = {path.relative_to(repository).as_posix() for path in repository.rglob("*.py")}
    ours = {f"tests/{path}" for path in copied_files(ALL_MODULES)}
    named = (repository / word for word in re.findall(r"[\w./-]+\.py\b", said))
    reported = {os.path.relpath(path, repository) for path in named} & there
    assert reported == there - ours - {tool.silent}, said
    assert tool.says in said


@pytest.mark.parametrize(("language", "file"), [("toml", "pyproject.toml"), ("ini", "pytest.ini")])
def test_pythonpath_is_for_import_mode_importlib(tmp_path, language, file):
    (tmp_path / "tests").mkdir()
    copy_modules(ALL_MODULES, tmp_path / "tests")
    (tmp_path / "tests" / "conftest.py").write_text("from shared_mqtt_pool import mqtt_client\n")
    (tmp_path / "tests" / "test_it.py").write_text("def test_it(mqtt_client): pass\n")
    (tmp_path / file).write_text(printed(FAILING_IMPORT, language))
    command = f"{sys.executable} -m pytest --import-mode=importlib -p no:cacheprovider"
    assert "1 passed" in run(tmp_path, command)
