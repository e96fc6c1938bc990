"""Time to form a new generation of ranks: the store's work for the meeting, the groups, and the handshake."""

from __future__ import annotations

import msgspec

from benchmarks.simulate.layouts import Levels
from benchmarks.simulate.opening import OpeningCosts, opening_s

REQUESTS = 10
"""Requests of one rank to the store: it announces itself, reads the roll, answers, and sees that all have answered."""
MEMBER_BYTES = 22
"""Size of a member in the roll."""
LAST_POLL_S = 0.1
"""Longest pause between two looks at the store."""


class Regrouping(msgspec.Struct, frozen=True):
    """Times in seconds, from the moment when all members have called.

    Attributes:
        ranks: World size.
        store_s: The store answers the requests of all ranks.
        rolls_s: The store sends the roll to all ranks.
        groups_s: The ranks open their groups.
        memory_s: A rank encodes or decodes the agreements about keys.
        gather_s: The ranks exchange handshakes.
    """

    ranks: int
    store_s: float
    rolls_s: float
    groups_s: float
    memory_s: float
    gather_s: float

    @property
    def total_s(self) -> float:
        """All of it, and one pause before the last look."""
        return self.store_s + self.rolls_s + self.groups_s + self.memory_s + self.gather_s + LAST_POLL_S

    @property
    def meeting_s(self) -> float:
        """Time that ranks need to answer the roll."""
        return self.store_s + self.rolls_s


def regrouping(ranks: int, levels: Levels, costs: OpeningCosts, *, memory_s: float, gather_s: float) -> Regrouping:
    """Return the times for a world of this size."""
    return Regrouping(
        ranks=ranks,
        store_s=ranks * REQUESTS * costs.get_s,
        rolls_s=ranks * ranks * MEMBER_BYTES * costs.byte_s,
        groups_s=opening_s(levels, costs),
        memory_s=memory_s,
        gather_s=gather_s,
    )
