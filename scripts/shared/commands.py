"""What every command does: say what keeps it from running, write files, end by a signal."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


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


def count(text: str) -> int:
    """Read a number of things from a command line: 1 or more."""
    return _positive(int, text, "a whole number")


def seconds(text: str) -> float:
    """Read how long something may take from a command line: more than 0 seconds."""
    return _positive(float, text, "a number of seconds")


def _positive(kind: type[_Number], text: str, what: str) -> _Number:
    try:
        number = kind(text)
    except ValueError:
        number = kind(0)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} above 0")
    return number


def file_to_write(text: str) -> Path:
    """Read from a command line where to write, and refuse at once what cannot be a file."""
    path = Path(text)
    try:
        is_folder = path.is_dir()
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    if is_folder:
        raise argparse.ArgumentTypeError(f"{text} is a folder: name a file")
    if there != path and not there.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {there} is no folder")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {there} is read-only")
    return path


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
    """Let SIGTERM and SIGHUP end what runs, and clean up, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, signal.default_int_handler)
