"""Finds the room that takes an item, by the table of kinds.

No datum passes here: the logger asks for the function and calls it. Rooms are imported at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ranklog.model.kinds import Kind, named

if TYPE_CHECKING:
    from ranklog.abc import Call, Room


def room_of(kind: Kind) -> Room | None:
    """The room that takes calls of a kind; None where the logger keeps them."""
    return None if kind.room is None else named(kind.room)


def measure_of(kind: Kind) -> Callable[[Call], float] | None:
    """The function that measures the value of a metric in the call; None for kinds that are not measured so."""
    return None if kind.measures is None else named(kind.measures)
