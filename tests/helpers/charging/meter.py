"""The meter at the house's connection to the grid, as the charger knows it."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Reading(NamedTuple):
    """What the meter says: what the sun leaves over, and whether a car is there to take it."""

    surplus_watts: float
    car_is_plugged_in: bool = True


class Meter(Protocol):
    """A meter in the network of the house."""

    async def read(self) -> Reading:
        """Ask it; an OSError if it does not answer."""
