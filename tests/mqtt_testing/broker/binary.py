"""The mosquitto binary: where it is, and its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from ..originals import Popen
from .errors import BrokerError
from .group import kill_group

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
    return version_in(output.decode(errors="replace"))


def version_in(text: str) -> str | None:
    """Return the version that mosquitto has written to a log or a terminal."""
    found = re.search(r"mosquitto version (\d+\.\d\S*)", text)
    return found[1] if found else None


def doubts_about(executable: str) -> list[str]:
    """Return what is wrong with the binary, as far as it can be told; each with the remedy."""
    version = mosquitto_version(executable)
    if version is None:
        return [
            f"{executable} does not give a version as mosquitto does: name the binary with "
            "MQTT_TEST_MOSQUITTO or `executable`."
        ]
    return complaints_about_age(executable, version)


def complaints_about_age(executable: str, text: str) -> list[str]:
    """Return that the version which *text* gives is too old, and what to do."""
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) >= OLDEST_VERSION:
        return []
    needed = ".".join(map(str, OLDEST_VERSION))
    return [
        f"{executable} is mosquitto {text}; it takes {needed} or later. Update it with "
        f"`{_install_command()}`, or set MQTT_TEST_MOSQUITTO to the path of a newer one."
    ]
