"""The bridge to ``concurrent_futures_fix.py``, which lies beside the folder and works alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import concurrent_futures_fix as futures_fix
else:
    # Beside the folder: in the package that the folder is in, where it is in one.
    _parent = __package__.rpartition(".")[0].rpartition(".")[0]
    futures_fix = import_module(f"{_parent}.concurrent_futures_fix".lstrip("."))

__all__ = [
    "GRACE",
    "ConcurrentFuturesFix",
    "end_threads",
    "futures_fix",
    "name_once",
    "stack_of",
]

GRACE = futures_fix.GRACE
ConcurrentFuturesFix = futures_fix.ConcurrentFuturesFix
end_threads = futures_fix.end_threads
name_once = futures_fix.name_once
stack_of = futures_fix.stack_of
