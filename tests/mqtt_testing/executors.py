"""The bridge to ``concurrent_futures_fix.py``, which lies beside the folder and works alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["ConcurrentFuturesFix", "futures_fix", "join", "let_go", "stack_of"]

if TYPE_CHECKING:
    import concurrent_futures_fix as futures_fix
else:
    # In the package that the folder is in, where it is in one.
    _name = f"{__package__.rpartition('.')[0]}.concurrent_futures_fix".lstrip(".")
    futures_fix = import_module(_name)  # copy concurrent_futures_fix.py, too

ConcurrentFuturesFix = futures_fix.ConcurrentFuturesFix
join = futures_fix.join
let_go = futures_fix.let_go
stack_of = futures_fix.stack_of
