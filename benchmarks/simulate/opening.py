"""Cost of opening the groups of a world: reads from the shared store, and connections."""

from __future__ import annotations

import msgspec

from benchmarks.simulate.layouts import Levels


class OpeningCosts(msgspec.Struct, frozen=True):
    """Times in seconds, sizes in bytes.

    Attributes:
        get_s: Time of the store for one read.
        byte_s: Time of the store to send one byte.
        connect_s: Time of a rank to open one connection.
        entry_bytes: Size of a member's entry in the store.
        entry_pair_bytes: Additional size per other member.
    """

    get_s: float
    byte_s: float
    connect_s: float
    entry_bytes: int = 250
    entry_pair_bytes: int = 8


def connections(levels: Levels) -> int:
    """Count the connections of rank 0, which is in a group of every level. Gloo connects all pairs of a group."""
    return sum(len(groups[0]) - 1 for groups in levels)


def opening_s(levels: Levels, costs: OpeningCosts) -> float:
    """Return the time to open all groups by level: the store's work, or that of the rank with most pairs."""
    total_s = 0.0
    for groups in levels:
        store_s = 0.0
        for size in (len(group) for group in groups):
            entry = costs.entry_bytes + costs.entry_pair_bytes * size
            store_s += size * size * (costs.get_s + entry * costs.byte_s)
        total_s += max(store_s, max(len(group) - 1 for group in groups) * costs.connect_s)
    return total_s
