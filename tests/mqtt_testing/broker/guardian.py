"""Cleans up behind this process, whatever killed it."""

from __future__ import annotations

import atexit
import os
import subprocess
from pathlib import Path

from ..originals import Popen

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
"""Removes folders and kills those who run from them; in sh.

A folder goes first: a mosquitto that is just being started does not find its configuration. One
that has found it is known by its command line, and not by a number that may be another's by now.
"""


class _Guardian:
    """A shell that cleans up behind us when we are gone, whatever killed us.

    It reads the names of our folders from a pipe whose other end only we hold. The kernel closes
    that end with our death, SIGKILL included, which a mosquitto itself would survive. A folder is
    named before a mosquitto starts from it, so that there is no moment at which our death goes
    unnoticed.
    """

    SCRIPT = 'while IFS= read -r folder; do set -- "$@" "$folder"; done\n' + CLEAN_UP

    def __init__(self) -> None:
        self._shell = Popen(
            ["/bin/sh", "-c", self.SCRIPT, "mqtt-test-broker-guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._shell.stdin is not None
        self.pipe = self._shell.stdin

    def is_on_duty(self) -> bool:
        """Say whether it watches this process, which may be a child of the one that it does."""
        return not self.pipe.closed and self._shell.poll() is None

    def watch(self, folder: Path) -> None:
        """Have *folder* removed, should we not come to it."""
        os.write(self.pipe.fileno(), os.fsencode(folder) + b"\n")

    def dismiss(self) -> None:
        """Have it do at once what is left to do, since we are going, and wait for that."""
        if self.is_on_duty():
            self.pipe.close()
            self._shell.wait()


_guardians: list[_Guardian] = []  # the last one is ours; a forked child has its parent's as well


def guardian_on_duty() -> _Guardian:
    """Return the guardian of this process, started where there is none."""
    if not _guardians or not _guardians[-1].is_on_duty():
        _guardians.append(_Guardian())
    return _guardians[-1]


@atexit.register
def _dismiss_guardians() -> None:
    for guardian in _guardians:
        guardian.dismiss()


def _leave_to_parent() -> None:
    """Hold nothing open, in a forked child, by which others tell that its parent is alive."""
    for guardian in _guardians:
        guardian.pipe.close()


os.register_at_fork(after_in_child=_leave_to_parent)
