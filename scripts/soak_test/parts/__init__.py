"""The parts of the soak, by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..figures import Figure
from ..workspace import Workspace
from .clients import clients
from .concurrent_runs import concurrent_runs
from .flood import flood
from .killed_runs import killed_runs
from .lives import lives
from .loans import loans
from .recoveries import recoveries
from .starts import starts

Part = Callable[[Workspace], Iterator[Figure]]

PARTS: dict[str, Part] = {
    "recoveries": recoveries,
    "killed-runs": killed_runs,
    "concurrent-runs": concurrent_runs,
    "flood": flood,
    "clients": clients,
    "starts": starts,
    "loans": loans,
    "lives": lives,
}
