"""The groups in which a world of many ranks is combined: as in `ranklog.world.torch.hierarchy.layout`. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.intp]
Levels = list[list[Ranks]]


def flat(world_size: int) -> Levels:
    """One group of all."""
    return [[np.arange(world_size)]]


def hierarchy(world_size: int, node: int, block: int | None) -> Levels:
    """Groups of each level, from the nodes upwards.

    Args:
        world_size: Number of ranks; consecutive ones share a node.
        node: Ranks of a node.
        block: Members of a group above the node at most; None joins the leaders of all nodes in one group.
    """
    groups = [np.arange(start, min(start + node, world_size)) for start in range(0, world_size, node)]
    levels = [groups]
    while len(groups) > 1:
        firsts = np.array([group[0] for group in groups])
        count = 1 if block is None else -(-len(firsts) // block)
        groups = np.array_split(firsts, count)
        levels.append(groups)
    return levels
