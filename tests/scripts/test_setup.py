"""scripts/setup, on a copy of it in an otherwise empty repository, with stand-ins for the system.

PATH leads only to stand-ins, so nothing here can install, download or start a thing.
"""

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "setup"
MOSQUITTO = "echo mosquitto version 2.0.11"


def executable(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The module that scripts/setup is, for a user who may do nothing and a system with nothing."""
    monkeypatch.delenv("MQTT_TEST_MOSQUITTO", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    copy = tmp_path / "scripts" / "setup"
    copy.parent.mkdir()
    copy.write_bytes(SCRIPT.read_bytes())
    (tmp_path / "requirements-dev.txt").touch()
    (tmp_path / "tests").symlink_to(SCRIPT.parents[1] / "tests")
    monkeypatch.setattr(sys, "path", [*sys.path])
    loader = SourceFileLoader("script", str(copy))
    module = module_from_spec(spec_from_loader("script", loader))
    loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDERS", (str(tmp_path / "sbin"),))
    return module


@pytest.fixture
def tool(tmp_path):
    """Put a stand-in for a command on PATH; it keeps its arguments, a line for each call."""

    def make(name, body=":"):
        calls = tmp_path / f"{name}-calls"
        executable(tmp_path / "bin" / name, f'printf "%s\\n" "$*" >>{calls}\n{body}')
        return calls

    return make


@pytest.fixture
def ready_venv(script):
    """A virtual environment that is finished, as far as anybody can tell without using it."""
    executable(script.VENV / "bin" / "python", "exit 1")
    script.STAMP.write_text(script.fingerprint())


# --- the virtual environment ---------------------------------------------------------------------


@pytest.fixture
def pip_calls(script, tmp_path, monkeypatch):
    """Virtual environments are real, but for their pip: that takes seconds and needs a network."""
    without_pip = executable(tmp_path / "python", f'exec {sys.executable} "$@" --without-pip')
    monkeypatch.setattr(script, "INTERPRETER", str(without_pip))
    calls = tmp_path / "pip-calls"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "pip.py").write_text(
        "import pathlib, sys\n"
        f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        f"sys.exit('no net' if pathlib.Path({str(tmp_path)!r}, 'offline').exists() else 0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    return calls


def test_a_half_made_venv_is_made_anew(script, tool, pip_calls):
    tool("mosquitto", MOSQUITTO)
    (script.VENV / "bin").mkdir(parents=True)
    (script.VENV / "bin" / "python").symlink_to("/nowhere/python")
    (script.VENV / "left-over").touch()

    assert script.main() == 0

    assert not (script.VENV / "left-over").exists()
    where = subprocess.check_output(
        [script.VENV / "bin" / "python", "-c", "import sys; print(sys.prefix)"], text=True
    )
    assert where == f"{script.VENV}\n"


def test_second_run_starts_neither_venv_nor_pip(script, tool, pip_calls, capsys):
    tool("mosquitto", MOSQUITTO)
    assert script.main() == 0
    assert len(lines(pip_calls)) == 1
    capsys.readouterr()

    assert script.main() == 0

    assert len(lines(pip_calls)) == 1
    assert capsys.readouterr().err == ""


def test_venv_is_unfinished_until_pip_succeeded(script, tool, pip_calls, tmp_path, capsys):
    tool("mosquitto", MOSQUITTO)
    (tmp_path / "offline").touch()
    assert script.main() == 1
    error = capsys.readouterr().err
    assert "no net" in error
    assert "pip reaches its package index" in error

    (tmp_path / "offline").unlink()
    assert script.main() == 0
    assert len(lines(pip_calls)) == 2


@pytest.mark.parametrize("changed", ["requirements-dev.txt", "scripts/setup"])
def test_venv_is_stale_once_a_file_changed(script, ready_venv, tmp_path, changed):
    assert script.is_venv_ready()
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert not script.is_venv_ready()


def test_venv_is_stale_for_another_python(script, ready_venv, monkeypatch):
    monkeypatch.setattr(script, "INTERPRETER", "/another/python")
    assert not script.is_venv_ready()


def test_venv_is_stale_once_it_moved(script, ready_venv, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "VENV", script.VENV.rename(tmp_path / "moved"))
    monkeypatch.setattr(script, "STAMP", script.VENV / script.STAMP.name)
    assert script.STAMP.exists()
    assert not script.is_venv_ready()


def test_a_python_without_ensurepip_is_an_error_that_names_the_package(script, monkeypatch):
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(script.SetupError, match=r"Install python3\.\d+-venv"):
        script.ensure_venv_module()


def test_a_python_without_ensurepip_gets_it_where_we_may(script, tool, monkeypatch):
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    tool("apt-get")
    calls = tool("sudo")
    script.ensure_venv_module()
    assert lines(calls)[-1] == f" sh python3.{sys.version_info[1]}-venv"


# --- finding mosquitto ---------------------------------------------------------------------------


def test_search_order(script, tmp_path, monkeypatch):
    places = ["chosen", "bin", "sbin", ".mosquitto"]
    for place in places:
        executable(tmp_path / place / "mosquitto", MOSQUITTO)
    monkeypatch.setenv("MQTT_TEST_MOSQUITTO", str(tmp_path / "chosen" / "mosquitto"))

    for place in places:
        found = tmp_path / place / "mosquitto"
        assert script.find_mosquitto() == str(found)
        found.unlink()
        monkeypatch.delenv("MQTT_TEST_MOSQUITTO", raising=False)
    assert script.find_mosquitto() is None


def test_a_chosen_mosquitto_that_is_none_is_an_error(script, tool, ready_venv, tmp_path):
    tool("mosquitto", MOSQUITTO)
    result = subprocess.run(
        [sys.executable, tmp_path / "scripts" / "setup"],
        env={**os.environ, "MQTT_TEST_MOSQUITTO": "/nowhere/mosquitto"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("scripts/setup: MQTT_TEST_MOSQUITTO is '/nowhere/mosquitto'")
    assert "Traceback" not in result.stderr


def test_an_empty_choice_is_none(script, tool, monkeypatch, tmp_path):
    tool("mosquitto", MOSQUITTO)
    monkeypatch.setenv("MQTT_TEST_MOSQUITTO", "")
    assert script.find_mosquitto() == str(tmp_path / "bin" / "mosquitto")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("echo mosquitto version 1.6.9", "version 1.6.9, which is too old"),
        ("echo cannot open libcjson.so >&2; exit 127", "cannot open libcjson.so"),
    ],
)
def test_a_useless_mosquitto_is_an_error(script, tool, ready_venv, capsys, body, complaint):
    tool("mosquitto", body)
    assert script.main() == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert "Install mosquitto 2.0 or later" in error


# --- getting mosquitto ---------------------------------------------------------------------------


def test_without_any_means_the_error_says_what_to_install(script, ready_venv, capsys):
    assert script.main() == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("scripts/setup: There is no mosquitto here")
    assert "Install mosquitto 2.0 or later" in error


@pytest.mark.parametrize(
    ("present", "used"),
    [
        (["sudo", "apt-get"], "sudo"),
        (["sudo", "dnf", "brew"], "sudo"),
        (["sudo", "apk"], "sudo"),
        (["dnf", "brew"], "brew"),
        (["sudo", "brew"], "brew"),
    ],
)
def test_package_manager(script, tool, ready_venv, tmp_path, capsys, present, used):
    installed = executable(tmp_path / "mosquitto", MOSQUITTO)
    calls = {name: tool(name) for name in present}
    tool(used, f'case "$*" in *mosquitto) /bin/cp {installed} {tmp_path}/bin/ ;; esac')

    assert script.main() == 0

    assert capsys.readouterr().out == f"{tmp_path}/bin/mosquitto\n"
    assert [
        name for name in present if any("mosquitto" in call for call in lines(calls[name]))
    ] == [used]


def test_sudo_that_asks_for_a_password_is_no_way(script, tool):
    calls = tool("sudo", "exit 1")
    assert script.way_to_root() is None
    assert lines(calls) == ["-n true"]


@pytest.fixture
def debian(tmp_path, tool):
    """Run what root runs on a Debian, in a folder that stands for its system."""
    (tmp_path / "usr" / "sbin").mkdir(parents=True)
    tool("update-rc.d")
    for name in ("cat", "chmod", "mv", "rm"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")

    def run(installer):
        shell, *words = [word.replace(" /etc/", f" {tmp_path}/etc/") for word in installer]
        words = [word.replace("=/usr/", f"={tmp_path}/usr/") for word in words]
        return subprocess.run([f"/bin/{shell}", *words], capture_output=True).returncode

    return run


@pytest.mark.parametrize("outcome", [0, 1])
@pytest.mark.parametrize("before", [None, "#!/bin/sh\nexit 104\n"])
def test_debians_service_is_kept_off(script, debian, tool, tmp_path, before, outcome):
    policy = tmp_path / "usr" / "sbin" / "policy-rc.d"
    if before:
        executable(policy, "").write_text(before)
    answers = tmp_path / "answers"
    tool(
        "apt-get",
        f"for service in mosquitto mosquitto.service other; do {policy} $service start; "
        f"echo $? >>{answers}; done; exit {outcome}",
    )
    init = executable(tmp_path / "etc" / "init.d" / "mosquitto", ":")

    assert (debian(script.INSTALLERS["apt-get"]) == 0) == (outcome == 0)

    assert init.exists()
    assert lines(answers)[:3] == ["101", "101", "104" if before else "0"]
    assert [path.name for path in policy.parent.iterdir()] == ([policy.name] if before else [])
    assert not before or policy.read_text() == before
    assert lines(tmp_path / "update-rc.d-calls") == ["mosquitto disable"]


def test_package_lists_are_fetched_if_the_first_try_fails(script, debian, tool, tmp_path):
    calls = tool(
        "apt-get", f"case $* in *update) : >{tmp_path}/lists ;; esac; [ -e {tmp_path}/lists ]"
    )
    assert debian(script.INSTALLERS["apt-get"]) == 0
    assert [call.split()[-1] for call in lines(calls)] == ["mosquitto", "update", "mosquitto"]


@pytest.fixture
def archive(tool, tmp_path):
    """An apt-get that knows mosquitto and a library, and a dpkg-deb that unpacks them."""
    broker = executable(tmp_path / "broker", f'{MOSQUITTO}; echo "$LD_LIBRARY_PATH" "$@"')
    tool(
        "dpkg-deb",
        f'd="$3/usr"; /bin/mkdir -p $d/sbin $d/lib/x && /bin/cp {broker} $d/sbin/mosquitto '
        "&& : >$d/lib/x/libcjson.so.1",
    )
    return tool(
        "apt-get",
        'case "$*" in\n*simulate*) echo "Inst libcjson1 (1.7 Debian)"; echo "Conf libcjson1" ;;\n'
        "*download*) : >mosquitto.deb ;;\nesac",
    )


def test_unpacking_without_root(script, archive, ready_venv, tmp_path, capsys):
    (tmp_path / ".mosquitto").mkdir()  # As an interrupted run leaves it.

    assert script.main() == 0

    launcher = tmp_path / ".mosquitto" / "mosquitto"
    assert capsys.readouterr().out == f"{launcher}\n"
    assert lines(archive)[-1].endswith("download libcjson1 mosquitto")
    assert sorted(path.name for path in launcher.parent.iterdir()) == ["mosquitto", "usr"]


def test_the_unpacked_mosquitto_can_be_moved(script, archive, tmp_path, monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    script.unpack_mosquitto()
    moved = (tmp_path / ".mosquitto").rename(tmp_path / "moved")
    output = subprocess.check_output([moved / "mosquitto", "-p", "1"], text=True)
    assert output.splitlines()[-1] == f"{moved}/usr/lib/x -p 1"
