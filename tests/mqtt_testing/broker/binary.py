"""The mosquitto binary: where it is, and its version; scripts/setup uses it without pytest."""

from __future__ import annotations

import re
import sys
from types import ModuleType

from ..originals import os, subprocess, time, variable
from .child import kill_group
from .errors import BrokerError

OLDEST_VERSION = (2, 0)

# Where packages put mosquitto, although not every user has these folders on PATH.
SBIN_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
    "/opt/homebrew/opt/mosquitto/sbin",
    "/usr/local/opt/mosquitto/sbin",
    "/home/linuxbrew/.linuxbrew/sbin",
)

INSTALL_COMMANDS = {
    "apt-get": "sudo apt-get install mosquitto",
    "dnf": "sudo dnf install mosquitto",
    "apk": "sudo apk add mosquitto",
    "pacman": "sudo pacman -S mosquitto",
    "brew": "brew install mosquitto",
}


def find_mosquitto(executable: str | os.PathLike[str] | None = None) -> str:
    """Return the path of the mosquitto binary.

    It is *executable*, else what ``MQTT_TEST_MOSQUITTO`` names, else one on PATH or in the folders
    where Debian and Homebrew keep it.

    Raises:
        BrokerError: there is none; the message has the install command for this system. Or
            something in this process keeps us from starting it; says what.
    """
    _check_process()
    named = executable or variable("MQTT_TEST_MOSQUITTO")
    found = _on_path(named) if named else _on_path("mosquitto", *SBIN_FOLDERS)
    if found:
        return found
    if named:
        source = "executable" if executable else "MQTT_TEST_MOSQUITTO"
        raise BrokerError(
            f"{source} names {os.fspath(named)!r}, which is not an executable file. "
            "Give the path of the mosquitto binary, or leave it out: then it is looked for."
        )
    raise BrokerError(
        f"mosquitto was not found, neither on PATH nor in {', '.join(SBIN_FOLDERS)}. "
        f"Install it with `{_install_command()}`, or set MQTT_TEST_MOSQUITTO to its path."
    )


def _check_process() -> None:
    """Check that what is replaced in this process lets us start a broker, and wait for it.

    Raises:
        BrokerError: it does not; says what it is.
    """
    sleep = sys.modules["time"].sleep  # which a test may replace by anything
    green = str(getattr(sleep, "__module__", "")).partition(".")[0]
    if green == "eventlet":
        raise BrokerError("eventlet.monkey_patch() is in force: it leaves no way to wait for MQTT")
    if green == "gevent" and not time.sleep.__module__.startswith(green):
        raise BrokerError(
            "gevent.monkey.patch_all() was called after the import of mqtt_testing, which holds "
            "what it replaces: call it in the first line of conftest.py"
        )
    if not isinstance(os.path, ModuleType):
        raise BrokerError(
            "files are fakes here, as pyfakefs has them: a broker cannot be started meanwhile. Use "
            "the session's, or start it before"
        )


def _on_path(name: str | os.PathLike[str], *further: str) -> str:
    """Return the path of an executable; empty where there is none."""
    folders = [*variable("PATH", os.defpath).split(os.pathsep), *further]
    paths = [os.path.join(folder, name) for folder in ([""] if os.path.dirname(name) else folders)]
    return next((p for p in paths if os.path.isfile(p) and os.access(p, os.X_OK)), "")


def _install_command() -> str:
    manager = next(filter(_on_path, INSTALL_COMMANDS), "")
    return INSTALL_COMMANDS.get(manager, "the package manager of this system (package mosquitto)")


def mosquitto_version(executable: str, timeout: float = 2.0) -> str | None:
    """Return the version that *executable* claims, as in ``2.0.11``; None if it is no mosquitto."""
    try:
        run = subprocess.Popen(
            [executable, "-h"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError:
        return None
    with run:
        try:
            output, _ = run.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_group(run)
            return None
    return version_in(output.decode(errors="replace"))


def version_in(text: str) -> str | None:
    """Return the version that mosquitto has written to a log or a terminal."""
    found = re.search(r"mosquitto version (\d+\.\d\S*)", text)
    return found[1] if found else None


def is_too_old(version: str) -> bool:
    """Return whether a version, as in ``2.0.11``, is older than what is needed."""
    return tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_VERSION


def doubt_about(executable: str, version: str | None) -> str:
    """Return what is wrong with a binary that claims *version*, and the remedy; else nothing."""
    if version is None:
        return (
            f"{executable} does not give a version as mosquitto does: name the binary with "
            "MQTT_TEST_MOSQUITTO or `executable`."
        )
    if is_too_old(version):
        needed = ".".join(map(str, OLDEST_VERSION))
        return (
            f"{executable} is mosquitto {version}; it takes {needed} or later. Update it with "
            f"`{_install_command()}`, or set MQTT_TEST_MOSQUITTO to the path of a newer one."
        )
    return ""
