"""Combine the ranks of a large world in a hierarchy of groups: a few short steps in place of one long ring.

Pure. From the node of every rank, `layout` derives the levels of groups that one rank belongs to. The first level is
the node. Each further level joins the first members of the groups below it, in blocks, up to one group at the top.
docs/explanation/large-worlds.md explains the size from which it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

HIERARCHY_FROM_RANKS = 32
BLOCK = 16


class Level(msgspec.Struct, frozen=True):
    """One group.

    Attributes:
        number: 0 within the node, 1 across nodes, and so on.
        members: Global ranks; the first one takes part in the next level.
    """

    number: int
    members: tuple[int, ...]


def layout(rank: int, nodes: Sequence[int], block: int = BLOCK) -> list[Level]:
    """Return the levels of one rank, from its node upwards; the last group of rank 0 is the top.

    Args:
        rank: The rank.
        nodes: For each rank, the number of its node; any numbers, in any order.
        block: Maximum number of members of a group above the node.

    Example:
        >>> [level.members for level in layout(0, [0, 0, 1, 1])]
        [(0, 1), (0, 2)]
        >>> [level.members for level in layout(3, [0, 0, 1, 1])]
        [(2, 3)]
    """
    by_node: dict[int, list[int]] = {}
    for each, node in enumerate(nodes):
        by_node.setdefault(node, []).append(each)
    groups = list(by_node.values())
    levels: list[Level] = []
    while True:
        own = next((tuple(group) for group in groups if rank in group), None)
        if own is None:
            return levels
        levels.append(Level(len(levels), own))
        if len(groups) == 1:
            return levels
        firsts = [group[0] for group in groups]
        # Groups of equal size: 17 leaders in blocks of 16 become 9 and 8, not 16 and 1.
        count = -(-len(firsts) // block)
        groups = [part.tolist() for part in np.array_split(np.array(firsts), count)]
