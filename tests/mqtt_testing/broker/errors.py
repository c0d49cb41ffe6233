"""What can go wrong with a broker, and what can be done about it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator


class BrokerError(RuntimeError):
    """A broker that cannot be found, started, reached or used as asked; says the remedy."""


class PortInUseError(BrokerError):
    """A port that another process listens on."""


_REMEDIES = {
    "Free some space there, or set TMPDIR to a folder elsewhere.": ("ENOSPC", "EDQUOT"),
    "Raise the limit of a file's size (`ulimit -f`).": ("EFBIG",),
    "Raise the limit (`ulimit -n`), or look for what leaves files or connections open.": (
        "EMFILE",
        "ENFILE",
    ),
    "Raise the limit of processes (`ulimit -u`), or end some.": ("EAGAIN",),
    "Set TMPDIR to a folder that can be written to.": ("EACCES", "EPERM", "EROFS", "ENOENT"),
}


@contextlib.contextmanager
def remedies() -> Iterator[None]:
    """Say what can be done about what the system refuses to a broker that starts."""
    __tracebackhide__ = True
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        name = errno.errorcode.get(error.errno or 0)
        remedies = [remedy for remedy, names in _REMEDIES.items() if name in names]
        what = f"the test broker cannot be started: {error.strerror or error}{where}."
        raise BrokerError(" ".join([what, *remedies])) from None
