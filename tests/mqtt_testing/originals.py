"""What the kit relies on itself, held from the import on: a mock in a test does not reach it.

A mock takes the place of a name in a module, such as ``os.killpg``. These are copies of modules.
"""

from __future__ import annotations

import atexit
import builtins
import os
import queue
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

__all__ = ["KIT", "atexit", "open", "os", "queue", "select", "signal", "socket", "start_unwatched"]
__all__ += ["subprocess", "tempfile", "threading", "time", "unwatched", "variable"]

open = builtins.open

KIT = __file__.rpartition("originals")[0]
"""The folder of this, as code in it is known to be."""

if not TYPE_CHECKING:

    def _copy_of(module: ModuleType) -> ModuleType:
        copy = ModuleType(module.__name__)
        vars(copy).update(vars(module))
        return copy

    _HELD = (atexit, os, queue, select, signal, socket, subprocess, tempfile, threading, time)
    globals().update((module.__name__, _copy_of(module)) for module in _HELD)
    os.path = _copy_of(os.path)
    # It has to find the other names of its module in the copy, too.
    _connect = socket.create_connection
    if isinstance(_connect, FunctionType):  # else a library's wrapper, whatever it finds
        _names = {**_connect.__globals__, **vars(socket)}
        _options = _connect.__name__, _connect.__defaults__, _connect.__closure__
        socket.create_connection = FunctionType(_connect.__code__, _names, *_options)
        socket.create_connection.__kwdefaults__ = _connect.__kwdefaults__


_start = threading.Thread.start

unwatched: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def start_unwatched(thread: threading.Thread) -> None:
    """Start a thread of our own, past what notes those of a service."""
    unwatched.add(thread)
    _start(thread)


def variable(name: str, default: str = "") -> str:
    """Return an environment variable, though ``os.environ.get`` may be a mock."""
    try:
        return os.environ[name]
    except KeyError:
        return default
