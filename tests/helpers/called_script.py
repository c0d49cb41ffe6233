"""What a script of this repository does, without a process of its own, whose start takes long."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from subprocess import CompletedProcess
from unittest import mock


def call_script(
    main: Callable[[Sequence[str]], int], words: Sequence[object], environment: Mapping[str, str]
) -> CompletedProcess[str]:
    """Call *main* with a command line, in an environment; return its status and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    command = [*map(str, words)]
    variables = mock.patch.dict(os.environ, environment, clear=True)
    with variables, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(command)
    return CompletedProcess(command, status, out.getvalue(), err.getvalue())
