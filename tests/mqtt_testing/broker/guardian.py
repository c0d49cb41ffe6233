"""Cleans up behind this process, whatever killed it."""

from __future__ import annotations

import atexit
import contextlib
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
"""Removes folders and kills what runs from them; in sh.

A folder goes first: a mosquitto that is just being started does not find its configuration. One
that has found it is known by its command line, and not by a number that may be another's by now.
"""


class _Guardian:
    """A shell that reads names of folders from a pipe, and cleans them up when that ends.

    Only this process holds the other end, which the kernel closes with its death, SIGKILL
    included; a mosquitto itself would survive that.
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
        """Return whether it watches this process; that of a parent does not."""
        return not self.pipe.closed and self._shell.poll() is None

    def watch(self, folder: Path) -> None:
        """Note *folder*."""
        os.write(self.pipe.fileno(), os.fsencode(folder) + b"\n")

    def dismiss(self) -> None:
        """Let it do at once what is left to do, and wait for that."""
        if self.is_on_duty():
            self.pipe.close()
            self._shell.wait()


_guardians: list[_Guardian] = []  # the last one is ours; a forked child has its parent's as well


def guard(folder: Path) -> None:
    """See to it that *folder*, and what runs from it, does not outlive this process.

    Call it before the folder is made: then there is no moment at which our death goes unnoticed.
    """
    if not _guardians:
        atexit.register(_dismiss)
        os.register_at_fork(after_in_child=_leave_to_parent)
    if not _guardians or not _guardians[-1].is_on_duty():
        _guardians.append(_Guardian())
    _guardians[-1].watch(folder)


def clean_up(folder: Path) -> None:
    """Do now what the guardian would do; nothing where no process can be had."""
    with contextlib.suppress(OSError):
        command = ["/bin/sh", "-c", CLEAN_UP, "sh", str(folder)]
        Popen(command, stderr=subprocess.DEVNULL).wait()


def _dismiss() -> None:
    for guardian in _guardians:
        guardian.dismiss()


def _leave_to_parent() -> None:
    """Close, in a forked child, the pipes whose end tells that its parent is gone."""
    for guardian in _guardians:
        guardian.pipe.close()
