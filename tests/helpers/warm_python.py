"""Runs of ``python -m pytest`` that begin where pytest is imported: most of what a short run takes.

A process that has imported pytest with its own plugins, and nothing that is ours or the user's,
waits for commands. It runs each in a fork of itself. That is as any ``python -m pytest`` then: it
has the environment, the folder and the import path that it was given, and ends as Python does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

SERVER = """
import gc, importlib, json, os, runpy, signal, sys, threading
import _pytest.config

for plugin in _pytest.config.default_plugins:
    if plugin != "stepwise":  # the only one that pytest imports on demand
        importlib.import_module(f"_pytest.{plugin}")

def commands():
    while True:
        line = b""
        while not line.endswith(b"\\n"):
            part = os.read(0, 65536)
            if not part:
                return
            line += part
        yield json.loads(line)

def answer(number):
    os.write(1, b"%d\\n" % number)

def become(folder, environment, arguments, outputs):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.main_thread()._set_native_id()  # Python 3.11 leaves it the parent's
    os.chdir(folder)
    for number, path in enumerate([os.devnull, *outputs]):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [os.getcwd(), *environment["PYTHONPATH"].split(os.pathsep)]
    sys.argv[1:] = arguments
    runpy._run_module_as_main("pytest")

gc.freeze()  # what pytest's import has made: no collection of a fork looks through it, or copies it
signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the process that started it
for command in commands():
    pid = os.fork()
    if pid == 0:
        become(**command)
    answer(pid)
    answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def _for_python(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what Python looks at as it starts: the server has looked at its own."""
    read = {name: value for name, value in environment.items() if name.startswith("PYTHON")}
    read.pop("PYTHONPATH", None)
    return read


_START = 60.0  # seconds in which it begins or ends a run at the latest, however busy the machine

# As it is before any test changes it. What has the mark of a test is looked for in all processes.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class _Server:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        atexit.register(self.close)

    def close(self) -> None:
        """End it: it waits for commands, of which no more come."""
        with self._process:
            self._process.kill()

    def run(self, timeout: float, **command: object) -> int | None:
        """Return the exit status of a command, or None if it took too long."""
        try:
            return self._run(timeout, command)
        except BaseException:  # an answer may be on its way that the next command would take
            _server.cache_clear()
            self.close()
            raise

    def _run(self, timeout: float, command: Mapping[str, object]) -> int | None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        pid = self._answer(_START)
        assert pid is not None, "the process that has imported pytest does not answer"
        status = self._answer(timeout)
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            assert self._answer(_START) is not None, f"process {pid} cannot be killed"
        return status

    def _answer(self, timeout: float) -> int | None:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            return None
        return int(self._process.stdout.readline())


_server = functools.cache(_Server)


def can_run_here() -> bool:
    """Return whether a fork is as good as a new process, here and with these variables."""
    return sys.platform == "linux" and _for_python(os.environ) == _for_python(_ENVIRONMENT)


def run_pytest(folder: Path, *arguments: str, timeout: float) -> pytest.RunResult:
    """Do what ``Pytester.run()`` does with ``python -m pytest``."""
    print("running: python -m pytest", *arguments)
    print("     in:", folder)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    outputs = [folder / "stdout", folder / "stderr"]
    begin = time.perf_counter()
    status = _server().run(
        timeout,
        folder=str(folder),
        environment={**os.environ, "PYTHONPATH": path},
        arguments=arguments,
        outputs=[str(output) for output in outputs],
    )
    seconds = time.perf_counter() - begin
    out, err = (output.read_text("utf-8").splitlines() for output in outputs)
    print(*out, sep="\n")
    print(*err, sep="\n", file=sys.stderr)
    if status is None:
        raise pytest.Pytester.TimeoutExpired(f"{timeout} second timeout expired: {arguments}")
    with contextlib.suppress(ValueError):
        status = pytest.ExitCode(status)
    return pytest.RunResult(status, out, err, seconds)
