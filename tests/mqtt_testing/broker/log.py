"""What mosquitto logs."""

from __future__ import annotations

from pathlib import Path

LOG_TAIL_LINES = 20


class Log:
    """The log of a broker, over all its restarts."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._earlier = ""

    def open(self, path: Path) -> None:
        """Begin a new file, after all that there was."""
        path.touch(mode=0o600)
        self.path = path

    def close(self) -> None:
        """Keep what was logged, since the file is about to be removed."""
        self._earlier, self.path = self.text, None

    @property
    def current(self) -> str:
        """What is in the present file."""
        try:
            return self.path.read_text(errors="replace") if self.path else ""
        except FileNotFoundError:  # others have cleaned up the temporary folder
            return ""

    @property
    def text(self) -> str:
        """Everything so far."""
        return self._earlier + self.current

    @property
    def position(self) -> int:
        """Where the log ends at present, in bytes; cheaper than reading it."""
        current = self.path.stat().st_size if self.path else 0
        return len(self._earlier.encode()) + current

    def since(self, position: int) -> str:
        """Return what has been logged since the log ended at *position*."""
        return self.text.encode()[position:].decode(errors="replace")

    def tail(self) -> str:
        """Return the end of the log, for a message."""
        lines = self.text.splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["The end of its log:", *lines]) if lines else "It has logged nothing."
