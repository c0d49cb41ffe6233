"""The mosquitto binary: where it is, and its version."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess

from ..originals import Popen
from .errors import BrokerError

OLDEST_VERSION = (2, 0)

SBIN_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
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

    Looks at *executable*, else at ``MQTT_TEST_MOSQUITTO``, else on PATH and in the folders
    where Debian and Homebrew keep it although they are not on everybody's PATH.

    Raises:
        BrokerError: there is none; the message has the install command for this system.
    """
    named = executable or os.environ.get("MQTT_TEST_MOSQUITTO")
    if named:
        found = shutil.which(named)
        if found is None:
            source = "executable" if executable else "MQTT_TEST_MOSQUITTO"
            raise BrokerError(
                f"{source} names {os.fspath(named)!r}, which is not an executable file. "
                "Give the path of the mosquitto binary, or leave it out to have it searched."
            )
        return found
    search_path = os.pathsep.join([os.environ.get("PATH", ""), *SBIN_FOLDERS])
    found = shutil.which("mosquitto", path=search_path)
    if found is None:
        raise BrokerError(
            f"mosquitto was not found, neither on PATH nor in {', '.join(SBIN_FOLDERS)}. "
            f"Install it with `{_install_command()}`, or set MQTT_TEST_MOSQUITTO to its path."
        )
    return found


def _install_command() -> str:
    for manager, command in INSTALL_COMMANDS.items():
        if shutil.which(manager):
            return command
    return "the package manager of this system (package mosquitto)"


def mosquitto_version(executable: str, timeout: float = 2.0) -> str | None:
    """Return the version that *executable* claims within *timeout* seconds, as in ``2.0.11``.

    None means that it claims none: it is no mosquitto, or hangs.
    """
    try:
        run = Popen(
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
    found = VERSION.search(output.decode(errors="replace"))
    return found[1] if found else None


def kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children: mosquitto may be a script that has some."""
    if leader.poll() is None:  # else its number may be another's by now
        with contextlib.suppress(OSError):
            os.killpg(leader.pid, signal.SIGKILL)
        leader.kill()
    leader.wait()


VERSION = re.compile(r"mosquitto version (\d+\.\d\S*)")


def too_old(executable: str, version: str) -> str:
    """Say that this version is too old, and what to do; empty where it is not."""
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) >= OLDEST_VERSION:
        return ""
    needed = ".".join(map(str, OLDEST_VERSION))
    return (
        f"{executable} is mosquitto {version}; it takes {needed} or later. Update it with "
        f"`{_install_command()}`, or set MQTT_TEST_MOSQUITTO to the path of a newer one."
    )
