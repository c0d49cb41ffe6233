"""Whether what is made now is for one test, or for those that follow as well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class CurrentScope:
    """Knows while a fixture wider than a test is set up; ``setUpClass`` is one to pytest."""

    is_wide = False

    @contextlib.contextmanager
    def of(self, scope: str) -> Iterator[None]:
        """Set up a fixture of *scope* in the block."""
        before, self.is_wide = self.is_wide, self.is_wide or scope != "function"
        try:
            yield
        finally:
            self.is_wide = before


current_scope = CurrentScope()
