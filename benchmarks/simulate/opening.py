"""What it takes to open the groups of a world: reads from the store that all ranks share, and connections."""

from __future__ import annotations

import msgspec

from benchmarks.simulate.layouts import Levels


class OpeningCosts(msgspec.Struct, frozen=True):
    """Times in seconds, sizes in bytes.

    Attributes:
        get_s: Time that the store needs for one read, whoever asks.
        byte_s: Time of one byte that the store sends.
        connect_s: Time of a rank for one more connection.
        entry_bytes: What a member tells of itself in the store.
        entry_pair_bytes: What it tells for each other member besides.
    """

    get_s: float
    byte_s: float
    connect_s: float
    entry_bytes: int = 250
    entry_pair_bytes: int = 8


def connections(levels: Levels) -> int:
    """Connections of rank 0, which is in a group of every level: a gloo group connects each member to each other."""
    return sum(len(groups[0]) - 1 for groups in levels)


def opening_s(levels: Levels, costs: OpeningCosts) -> float:
    """Time to open all groups, level by level: the store's work for all ranks, or that of the rank with most pairs."""
    total_s = 0.0
    for groups in levels:
        store_s = 0.0
        for size in (len(group) for group in groups):
            entry = costs.entry_bytes + costs.entry_pair_bytes * size
            store_s += size * size * (costs.get_s + entry * costs.byte_s)
        total_s += max(store_s, max(len(group) - 1 for group in groups) * costs.connect_s)
    return total_s
