"""The temporary folder of a broker, and the guardian that removes it, whatever killed us."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..originals import atexit, open, os, subprocess, tempfile
from .child import KILL_TIMEOUT, has_ended

FOLDER_PREFIX = "mqtt-test-mosquitto-"

CLEAN_UP = """
PATH=/usr/bin:/bin:$PATH
for folder; do
    [ -d "$folder" ] || continue
    rm -rf "$folder"
    for process in /proc/[0-9]*; do
        command=; read -r command <"$process/cmdline"
        case $command in *"-c$folder/mosquitto.conf"*) kill -KILL "${process#/proc/}" ;; esac
    done
    [ -d /proc/self ] || pkill -KILL -f -- "-c $folder/mosquitto.conf"
    rm -rf "$folder"
done
"""
"""Removes folders, so that no mosquitto starts from them any more, and kills those that have.

They are known by their command lines: a number may be another's by now.
"""


class Folder:
    """A temporary folder that no other user reads, and that does not outlive its process."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self.path = Path(tempfile.gettempdir(), FOLDER_PREFIX + os.urandom(8).hex())
        # Before the folder is made: there is no moment at which our death goes unnoticed.
        if not _guardians or not _guardians[-1].is_on_duty():
            _guardians.append(_Guardian())
        _guardians[-1].watch(self.path)
        os.mkdir(self.path, 0o700)

    def is_ours(self) -> bool:
        """Return whether this process has made it, and not the one that this was forked from."""
        return self._owner == os.getpid()

    def check_space(self) -> None:
        """Raise OSError where nothing can be written any more."""
        probe = self.path / "probe"
        try:
            with open(probe, "wb") as file:
                file.write(bytes(4096))
        finally:
            os.unlink(probe)

    def remove(self) -> None:
        """Remove the folder and its files; takes one descriptor, unlike ``rmtree``."""
        if not self.is_ours():
            return  # a forked child ends as its parent does, through `with` or pytest's fixtures
        with contextlib.suppress(FileNotFoundError):  # others clean up the temporary folder, too
            for name in os.listdir(self.path):
                os.unlink(self.path / name)
            os.rmdir(self.path)


def write_private(path: Path, text: str) -> None:
    """Write a file that no other user reads."""
    __tracebackhide__ = True
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


class _Guardian:
    """A shell that reads names of folders from a pipe, and cleans them up when that ends.

    Only this process holds the other end: the kernel closes it, even after SIGKILL.
    """

    SCRIPT = 'while IFS= read -r folder; do set -- "$@" "$folder"; done\n' + CLEAN_UP

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", self.SCRIPT, "mqtt-test-broker-guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._shell.stdin is not None
        self._pipe = self._shell.stdin
        # Held by a forked child as well, the pipe would not end with this process.
        os.register_at_fork(after_in_child=self._pipe.close)
        atexit.register(self._dismiss)

    def is_on_duty(self) -> bool:
        """Return whether it watches this process; that of a parent does not."""
        return not self._pipe.closed and self._shell.poll() is None

    def watch(self, folder: Path) -> None:
        """Note *folder*."""
        os.write(self._pipe.fileno(), os.fsencode(folder) + b"\n")

    def _dismiss(self) -> None:
        """Let it do at once what is left to do, and wait for that."""
        if self.is_on_duty():
            self._pipe.close()
            has_ended(self._shell, KILL_TIMEOUT)


_guardians: list[_Guardian] = []  # the last one is ours; a forked child has its parent's as well


def clean_up(folder: Path) -> None:
    """Do now what the guardian would do; nothing where no process can be had."""
    with contextlib.suppress(OSError):
        command = ["/bin/sh", "-c", CLEAN_UP, "sh", str(folder)]
        has_ended(subprocess.Popen(command, stderr=subprocess.DEVNULL), KILL_TIMEOUT)
