"""Groups in which a large world is reduced, as in `ranklog.world.torch.hierarchy.layout`. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.intp]
Levels = list[list[Ranks]]


def flat(world_size: int) -> Levels:
    """Return one group of all ranks."""
    return [[np.arange(world_size)]]


def hierarchy(world_size: int, node: int, block: int | None) -> Levels:
    """Return the groups of each level, from the nodes upwards.

    Args:
        world_size: Number of ranks. Consecutive ranks share a node.
        node: Ranks per node.
        block: Largest group above the node level; None puts the leaders of all nodes into one group.
    """
    groups = [np.arange(start, min(start + node, world_size)) for start in range(0, world_size, node)]
    levels = [groups]
    while len(groups) > 1:
        firsts = np.array([group[0] for group in groups])
        count = 1 if block is None else -(-len(firsts) // block)
        groups = np.array_split(firsts, count)
        levels.append(groups)
    return levels
