"""Worlds without other ranks: `SingleWorld` for one process, `SeveredWorld` if the others cannot be reached.

Nothing here blocks. Collectives of a `SingleWorld` return this rank's own value. Those of a `SeveredWorld` raise
`WorldError` with a given reason.
"""

from __future__ import annotations

import os
import threading

import msgspec

from ranklog.abc import Floats, ReduceOp, World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.place.detect import STRATEGY_VARIABLE, detect_place
from ranklog.world.place.reconcile import with_given_rank


class SingleWorld:
    """A world of size 1.

    Args:
        place: This process; its world size must be 1.
    """

    def __init__(self, place: Place | None = None) -> None:
        self._place = place or Place()

    @property
    def place(self) -> Place:
        """This process."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Return a copy of ``values``."""
        return values.copy()

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return a list with only ``data``."""
        return [data]

    def barrier(self, *, timeout_s: float) -> None:
        """Return at once."""

    def close(self) -> None:
        """Do nothing; there is nothing to release."""


class SeveredWorld:
    """A world that could not be opened: it knows its place, and every collective raises the reason."""

    def __init__(self, place: Place, reason: str) -> None:
        self._place = place
        self._reason = reason

    @property
    def place(self) -> Place:
        """The place this process would have had."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Raise `WorldError`."""
        raise WorldError(self._reason)

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Raise `WorldError`."""
        raise WorldError(self._reason)

    def barrier(self, *, timeout_s: float) -> None:
        """Raise `WorldError`."""
        raise WorldError(self._reason)

    def close(self) -> None:
        """Do nothing; there is nothing to release."""


class SingleStrategy(msgspec.Struct, frozen=True):
    """A single process. A given rank only decides whether it writes."""

    rank: int | None = None
    name: str = "single"

    def place(self) -> Place:
        """Rank 0 of 1, or the given rank."""
        alone = detect_place({**os.environ, STRATEGY_VARIABLE: "single"})
        return with_given_rank(alone, self.rank, detected=False)

    def ready(self) -> bool:
        """Return True."""
        return True

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Return a world of one rank, at once."""
        return SingleWorld()
