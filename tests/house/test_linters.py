"""What users copy pleases linters that know nothing of this repository's settings."""

import subprocess
import sys

import pytest
from helpers.drop_in import ALL_MODULES, copy_modules

COMMANDS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
    "flake8": ["flake8", "--max-line-length", "100", "."],
    "mypy": ["mypy", "--strict", "--cache-dir", "/dev/null", "--python-executable"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_copied_files_please_a_linter(tmp_path, name):
    copy_modules(ALL_MODULES, tmp_path)
    command = [sys.executable, "-m", *COMMANDS[name]]
    if name == "mypy":
        command += [sys.executable, *(f"{module}.py" for module in ALL_MODULES)]
    pytest.importorskip(COMMANDS[name][0])
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("package", [False, True])
def test_lines_of_a_conftest_survive_a_linter_that_mends(tmp_path, package):
    if package:
        (tmp_path / "__init__.py").touch()
    conftest = tmp_path / "conftest.py"
    dot = "." if package else ""
    conftest.write_text(f"from {dot}shared_mqtt_pool import mqtt_client  # noqa: F401\n")
    before = conftest.read_text()
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated", "--fix"]
    subprocess.run([*ruff, conftest], check=True, timeout=60)
    assert conftest.read_text() == before
