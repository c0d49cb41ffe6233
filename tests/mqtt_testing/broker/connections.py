"""Cuts the connections of clients to a broker."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator

OBSERVER_ID_PREFIX = "mqtt-test-observer-"
"""Begins the client ids of connections that watch the broker for the tests, and belong to none."""

READY_ID_PREFIX = "ready-"

NEW_CLIENT = re.compile(r"New client connected from \S+:(\d+) as (.+) \(p\d, c\d")

_PIDFD_OPEN, _PIDFD_GETFD = 434, 438  # system calls; on all architectures that matter

REACH = "that takes Linux 5.6 and, in a container, `--cap-add SYS_PTRACE`"


def cut_connections(
    duplicates: Iterable[int], port: int, is_wanted: Callable[[int], bool]
) -> set[int]:
    """Shut down those of the descriptors that are an end of a wanted connection to *port*.

    Takes duplicates, which it closes, and ports of clients; returns the latter that were cut.
    """
    cut = set()
    for duplicate in duplicates:
        try:
            end = socket.socket(fileno=duplicate)
        except OSError:
            os.close(duplicate)  # no socket
            continue
        with end, contextlib.suppress(OSError):  # one without a peer is no connection
            near, far = end.getsockname(), end.getpeername()
            if end.family in (socket.AF_INET, socket.AF_INET6) and port in (near[1], far[1]):
                client_port = far[1] if near[1] == port else near[1]
                if is_wanted(client_port):
                    end.shutdown(socket.SHUT_RDWR)
                    cut.add(client_port)
    return cut


def descriptors_of(pid: int) -> Iterator[int]:
    """Duplicate the descriptors of another process.

    Raises:
        OSError: this system has no way to do it, or does not let us.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    import ctypes  # not every Python has it

    system = ctypes.CDLL(None, use_errno=True)

    def call(*numbers: int, harmless: int = 0) -> int:
        result: int = system.syscall(*numbers)
        code = ctypes.get_errno()
        if result < 0 and code != harmless:
            raise OSError(code, os.strerror(code))
        return result

    process = call(_PIDFD_OPEN, pid, 0)  # `os` has it only if Python was built on such a Linux
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            closed_meanwhile = errno.EBADF
            duplicate = call(_PIDFD_GETFD, process, int(number), 0, harmless=closed_meanwhile)
            if duplicate >= 0:
                yield duplicate
    finally:
        os.close(process)


def descriptors_of_ours() -> Iterator[int]:
    """Duplicate the descriptors of this process."""
    for number in os.listdir("/dev/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # the one that listed them
            yield os.dup(int(number))
