"""The programs that a service starts with ``subprocess``."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from ..originals import KIT, subprocess

END_TIMEOUT = 5.0
"""Seconds in which a program that was killed is gone."""


class Programs:
    """Notes the programs that are started in a ``with`` block, but for our own.

    For that time ``subprocess.Popen.__init__`` is replaced.
    """

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._started: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Programs:
        initialise = subprocess.Popen.__init__

        @functools.wraps(initialise)
        def initialise_and_note(program: Any, *args: Any, **kwargs: Any) -> None:
            frame = inspect.currentframe()
            caller = frame and frame.f_back
            if not (caller and caller.f_code.co_filename.startswith(KIT)):
                self._started.append(program)  # an interruption may keep us from returning
            initialise(program, *args, **kwargs)

        # Of the class that we hold: a test may have a mock under the name.
        self._patch.setattr(subprocess.Popen, "__init__", initialise_and_note)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._patch.undo()

    def end(self) -> None:
        """Kill those that run on."""
        for program in self._started:
            if getattr(program, "pid", None) and program.poll() is None:
                program.kill()
                program.wait(END_TIMEOUT)
