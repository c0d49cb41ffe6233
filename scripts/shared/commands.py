"""What every command does: say what keeps it from running, write files, end by a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class CannotRunError(Exception):
    """What keeps a command from being done, and what to do about it, in words for the user."""


def write(path: Path | None, content: Callable[[], str]) -> None:
    """Write a file that was asked for, and the folders that it takes."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content(), encoding="utf-8")
    except OSError as error:
        raise CannotRunError(f"{path} cannot be written: {error.strerror}") from None


def split_off_pytest_args(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what is ours of a command line, and what follows `--`, which is pytest's."""
    place = words.index("--") if "--" in words else len(words)
    return list(words[:place]), list(words[place + 1 :])


def exit_status_of(script: str, action: Callable[[], int], *others: type[Exception]) -> int:
    """Do *action*, and turn what can go wrong, *others* included, into one message of *script*."""
    errors: tuple[type[Exception], ...] = (CannotRunError, *others)
    try:
        return action()
    except errors as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{script}: interrupted", file=sys.stderr)
        return 130


def take_other_ends_for_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP end what runs, and clean up, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, signal.default_int_handler)
