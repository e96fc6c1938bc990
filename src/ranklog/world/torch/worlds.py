"""Worlds over gloo groups: one generation of ranks, which can meet again as the next generation.

In: the roll of a meeting. Out: collectives over its members, as one group or node by node. Each generation has groups
of its own, below the token of its roll in the store, so no message of one generation reaches another.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from ranklog.abc import Floats, ReduceOp
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.torch.gloo import GlooGroup
from ranklog.world.torch.hierarchy import layout
from ranklog.world.torch.meeting import Meeting, answer_s
from ranklog.world.torch.opening import Opening
from ranklog.world.torch.roll import Roll

_pairs = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


class GenerationOfRanks(ABC):
    """One generation of the ranks of a channel; see `ranklog.abc.RegroupingWorld`.

    Args:
        meeting: Where the ranks meet for the next generation.
        roll: The members of this one.
        hierarchy_from: Number of members from which ranks on several nodes are combined node by node.
    """

    def __init__(self, meeting: Meeting, roll: Roll, hierarchy_from: int) -> None:
        self._meeting = meeting
        self._roll = roll
        self._hierarchy_from = hierarchy_from
        self._next: Opening[GenerationOfRanks] | None = None

    @property
    def place(self) -> Place:
        """Place of this rank in the default group."""
        return self._meeting.place

    @property
    def generation(self) -> int:
        """Number of this generation."""
        return self._roll.generation

    @property
    def members(self) -> tuple[int, ...]:
        """Global ranks of the members, ascending."""
        return self._roll.ranks

    def regroup(self, *, timeout_s: float, stop: threading.Event | None = None) -> GenerationOfRanks:
        """Leave this generation and open the next one with the ranks that call."""
        self.close()
        meeting, hierarchy_from = self._meeting, self._hierarchy_from
        if self._next is None or self._next.has_failed:
            self._next = Opening(
                lambda: meeting.meet(timeout_s, stop),
                lambda roll: open_world(meeting, roll, timeout_s=timeout_s, hierarchy_from=hierarchy_from),
            )
        with opening_errors(self.place):
            # Rank 0 calls the roll at its time limit, and the ranks need time to answer.
            return self._next.wait(timeout_s + answer_s(self.place.world_size), timeout_s, stop)

    def rank_waits_to_join(self) -> bool:
        """On rank 0: whether a rank outside of this generation wants to join the next one."""
        try:
            return self._meeting.others_wait()
        except RuntimeError:  # the store is gone: nobody can join
            return False

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every member has called."""
        self.all_reduce(np.zeros(1), op="sum", timeout_s=timeout_s)

    @abstractmethod
    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise."""

    @abstractmethod
    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every member, in the order of `members`."""

    @abstractmethod
    def close(self) -> None:
        """Release the groups."""


class TorchWorld(GenerationOfRanks):
    """All members as one gloo group.

    Args:
        meeting: Where the ranks meet for the next generation.
        roll: The members.
        hierarchy_from: Number of members from which ranks on several nodes are combined node by node.
        group: The group of all members.
    """

    def __init__(self, meeting: Meeting, roll: Roll, hierarchy_from: int, group: GlooGroup) -> None:
        super().__init__(meeting, roll, hierarchy_from)
        self._group = group

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise."""
        return self._group.all_reduce(values, op, timeout_s)

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every member."""
        return self._group.all_gather(data, timeout_s)

    def close(self) -> None:
        """Release the group."""
        self._group.close()


class HierarchicalWorld(GenerationOfRanks):
    """All members, combined upwards level by level and passed down again, so every rank gets the same bits.

    Args:
        meeting: Where the ranks meet for the next generation.
        roll: The members.
        hierarchy_from: Number of members from which ranks on several nodes are combined node by node.
        groups: The groups of this rank, from the node upwards; it is the first member of each but the last.
        depth: Number of levels of rank 0, which takes part in all.
    """

    def __init__(
        self, meeting: Meeting, roll: Roll, hierarchy_from: int, groups: Sequence[GlooGroup], depth: int
    ) -> None:
        super().__init__(meeting, roll, hierarchy_from)
        self._groups = tuple(groups)
        self._at_top = len(self._groups) == depth
        self._broken = False

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
            packed = msgspec.msgpack.encode([(self.place.rank, data)])
            for group in self._upwards():
                parts = [pair for part in group.all_gather(packed, left()) for pair in _pairs.decode(part)]
                packed = msgspec.msgpack.encode(parts)
            for group in self._downwards():
                packed = group.broadcast(packed, left())
        except WorldError:
            self._broken = True
            raise
        return [content for _, content in sorted(_pairs.decode(packed))]

    def close(self) -> None:
        """Release all groups."""
        for group in self._groups:
            group.close()

    def _start(self, timeout_s: float) -> _Left:
        if self._broken:  # even if this group still works, because the ranks no longer make the same calls
            raise WorldError(f"{self.place}: the communicator broke earlier")
        return _Left(timeout_s)

    def _upwards(self) -> Sequence[GlooGroup]:
        """Return the groups in which this rank combines: all."""
        return self._groups

    def _downwards(self) -> Sequence[GlooGroup]:
        """Return the groups in which the result is passed down: all but the top, which has it."""
        return self._groups[: -1 if self._at_top else None][::-1]


@contextmanager
def opening_errors(place: Place) -> Iterator[None]:
    """Turn the errors of a torch store or group that is being opened into `WorldError`."""
    try:
        yield
    except WorldError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise WorldError(f"{place}: no communicator could be opened: {reason}") from error


def open_world(meeting: Meeting, roll: Roll, *, timeout_s: float, hierarchy_from: int) -> GenerationOfRanks:
    """Build the groups of one generation.

    Args:
        meeting: Where its members met.
        roll: Its members.
        timeout_s: Time limit for each group.
        hierarchy_from: Number of members from which ranks on several nodes are combined node by node.

    Raises:
        RuntimeError: a member did not come to a group in time.
    """
    dist = sys.modules["torch.distributed"]
    store = dist.PrefixStore(roll.token, meeting.store)
    rank, members = meeting.place.rank, roll.ranks
    nodes = _nodes(store, meeting, roll) if len(members) >= hierarchy_from else [0]
    if len(set(nodes)) == 1:
        group = GlooGroup(dist.PrefixStore("gloo", store), members, rank, timeout_s)
        return TorchWorld(meeting, roll, hierarchy_from, group)
    groups = []
    for level in layout(members.index(rank), nodes):
        ranks = [members[index] for index in level.members]
        groups.append(GlooGroup(dist.PrefixStore(f"gloo/{level.number}/{ranks[0]}", store), ranks, rank, timeout_s))
    return HierarchicalWorld(meeting, roll, hierarchy_from, groups, len(layout(0, nodes)))


def _nodes(store: Any, meeting: Meeting, roll: Roll) -> list[int]:
    """Return the node number of each member. Rank 0 reads all names and writes one list, so the others read one key."""
    if meeting.place.is_main:
        names = meeting.node_names(roll)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        store.set("nodes", msgspec.msgpack.encode([numbers[name] for name in names]))
    return msgspec.msgpack.decode(bytes(store.get("nodes")), type=list[int])


class _Left:
    """Remaining time of a limit."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def __call__(self) -> float:
        return max(self._end_s - time.monotonic(), 0.001)
