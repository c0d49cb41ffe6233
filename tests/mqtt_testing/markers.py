"""The marker for tests that need a real leak."""

from __future__ import annotations

import pytest

LEAKS_ON_PURPOSE = "leaks_on_purpose"


def leaks_on_purpose(item: pytest.Item) -> bool:
    """Return whether a test is marked as one that needs a real leak."""
    return item.get_closest_marker(LEAKS_ON_PURPOSE) is not None
