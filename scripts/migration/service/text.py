"""What is written for a service, and what that needs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Text:
    """The imports that the lines need, and what is left to do by hand."""

    imports: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
