"""The temporary folder of a broker."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import subprocess
import tempfile
import weakref
from pathlib import Path

from ..originals import Popen
from .config import mosquitto_user
from .guardian import CLEAN_UP, guardian_on_duty

FOLDER_PREFIX = "mqtt-test-mosquitto-"


class Folder:
    """A temporary folder that nobody else reads, locked for as long as its process lives.

    A folder of that name that is not locked has been left behind, and may be swept: no process
    id is needed to tell, which another process may have by now.
    """

    def __init__(self) -> None:
        guardian = guardian_on_duty()
        self._owner = os.getpid()
        self.path, self._lock = _make_locked_folder()
        _folders.add(self)
        guardian.watch(self.path)

    def is_ours(self) -> bool:
        """Say whether this process has made it, and not the one that this was forked from."""
        return self._owner == os.getpid()

    def check_space(self) -> None:
        """Raise OSError where nothing can be written any more."""
        probe = self.path / "probe"
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink()

    def remove(self) -> None:
        """Remove the folder, let go, and its files; takes one descriptor, unlike ``rmtree``."""
        if not self.is_ours():
            return  # a forked child ends as its parent does, through `with` or pytest's fixtures
        with contextlib.suppress(FileNotFoundError):  # somebody is cleaning up as well
            for name in os.listdir(self.path):  # noqa: PTH208
                (self.path / name).unlink()
            self.path.rmdir()

    def let_go(self) -> None:
        """Close our lock: before the folder is removed, and in a forked child."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


_folders: weakref.WeakSet[Folder] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Hold no lock, in a forked child, by which others tell that its parent is alive."""
    for folder in _folders:
        folder.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)


def _make_locked_folder() -> tuple[Path, int | None]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept before it was locked
        except OSError:
            path.rmdir()
            raise
        with contextlib.suppress(OSError):  # NFS locks no folders: then nobody sweeps there
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        os.close(lock)


@functools.cache
def sweep_abandoned_folders(temporary_folder: str) -> None:
    """Remove what processes have left behind that were killed with all their guardians; once."""
    for path in Path(temporary_folder).glob(f"{FOLDER_PREFIX}*"):
        # Its process is alive, another sweep is faster, it is not ours, or it is no folder.
        with contextlib.suppress(OSError):
            _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    if path.is_symlink() or path.stat().st_uid not in {os.geteuid(), mosquitto_user()}:
        return
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clean_up(path)
    finally:
        os.close(lock)


def clean_up(folder: Path) -> None:
    """Remove *folder* and kill those who run from it; nothing where no process can be had."""
    with contextlib.suppress(OSError):
        command = ["/bin/sh", "-c", CLEAN_UP, "sh", str(folder)]
        Popen(command, stderr=subprocess.DEVNULL).wait()


def write_private(path: Path, text: str) -> None:
    """Write a file that no other user reads."""
    __tracebackhide__ = True
    path.touch(mode=0o600)
    path.write_text(text)
