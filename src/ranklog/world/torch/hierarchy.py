"""Combine the ranks of a large world in a hierarchy of groups: a few short steps in place of one long ring.

`layout` is pure. From the node of every rank it derives the levels of groups that one rank belongs to. The first level
is the node. Each further level joins the first members of the groups below it, in blocks, up to one group at the top.
`HierarchicalWorld` combines upwards through this rank's levels and passes the result down again, so every rank gets the
same bits. docs/explanation/large-worlds.md explains the size from which it is used.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ranklog.abc import Floats, ReduceOp
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.torch.gloo import GlooGroup

HIERARCHY_FROM_RANKS = 32
BLOCK = 16

_pairs = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


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


class HierarchicalWorld:
    """All ranks, combined level by level.

    Args:
        place: This rank.
        groups: Its groups, from the node upwards; it is the first member of each but the last.
        depth: Number of levels of rank 0, which takes part in all.
    """

    def __init__(self, place: Place, groups: Sequence[GlooGroup], depth: int) -> None:
        self._place = place
        self._groups = tuple(groups)
        self._at_top = len(self._groups) == depth
        self._broken = False

    @property
    def place(self) -> Place:
        """Place of this rank."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine upwards, pass the result down."""
        left = self._start(timeout_s)
        try:
            total = values.astype(np.float64)
            for group in self._upwards():
                total = group.all_reduce(total, op, left())
            for group in self._downwards():
                total = group.broadcast_floats(total, left())
        except WorldError:
            self._broken = True
            raise
        return total

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Collect upwards, pass everything down."""
        left = self._start(timeout_s)
        try:
            packed = msgspec.msgpack.encode([(self._place.rank, data)])
            for group in self._upwards():
                parts = [pair for part in group.all_gather(packed, left()) for pair in _pairs.decode(part)]
                packed = msgspec.msgpack.encode(parts)
            for group in self._downwards():
                packed = group.broadcast(packed, left())
        except WorldError:
            self._broken = True
            raise
        return [content for _, content in sorted(_pairs.decode(packed))]

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank has called."""
        self.all_reduce(np.zeros(1), op="sum", timeout_s=timeout_s)

    def close(self) -> None:
        """Release all groups."""
        for group in self._groups:
            group.close()

    def _start(self, timeout_s: float) -> _Left:
        if self._broken:  # even if this group still works, because the ranks no longer make the same calls
            raise WorldError(f"{self._place}: the communicator broke earlier")
        return _Left(timeout_s)

    def _upwards(self) -> Sequence[GlooGroup]:
        """Return the groups in which this rank combines: all."""
        return self._groups

    def _downwards(self) -> Sequence[GlooGroup]:
        """Return the groups in which the result is passed down: all but the top, which has it."""
        return self._groups[: -1 if self._at_top else None][::-1]


class _Left:
    """Remaining time of a limit."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def __call__(self) -> float:
        return max(self._end_s - time.monotonic(), 0.001)
