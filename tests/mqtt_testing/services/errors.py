"""A service that cannot be handled as it was described."""

from __future__ import annotations


class ServiceFixtureError(RuntimeError):
    """A service that the fixture cannot handle as it was described; says what to change."""
