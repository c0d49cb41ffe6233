"""The temporary folder of a broker."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from .guardian import guard

FOLDER_PREFIX = "mqtt-test-mosquitto-"


class Folder:
    """A temporary folder that no other user reads, and that does not outlive its process."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self.path = Path(tempfile.gettempdir(), FOLDER_PREFIX + os.urandom(8).hex())
        guard(self.path)
        os.mkdir(self.path, 0o700)  # noqa: PTH102

    def is_ours(self) -> bool:
        """Return whether this process has made it, and not the one that this was forked from."""
        return self._owner == os.getpid()

    def check_space(self) -> None:
        """Raise OSError where nothing can be written any more."""
        probe = self.path / "probe"
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink()

    def remove(self) -> None:
        """Remove the folder and its files; takes one descriptor, unlike ``rmtree``."""
        if not self.is_ours():
            return  # a forked child ends as its parent does, through `with` or pytest's fixtures
        with contextlib.suppress(FileNotFoundError):  # others clean up the temporary folder, too
            for name in os.listdir(self.path):  # noqa: PTH208
                (self.path / name).unlink()
            self.path.rmdir()


def write_private(path: Path, text: str) -> None:
    """Write a file that no other user reads."""
    __tracebackhide__ = True
    path.touch(mode=0o600)
    path.write_text(text)
