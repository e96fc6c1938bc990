"""Clocks of all ranks during a reduction: every message of gloo's algorithms, at numpy's speed.

Computes the finishing time of each rank from costs, delays and groups. A message leaves when its sender has finished
all earlier work. It is received when it has arrived and its receiver has finished all earlier work. Each rank sends its
messages in a fixed order, so no event queue is needed. One numpy operation handles the messages of all ranks in one
iteration of a ring. A queue of single events would take 5e8 steps for 16,384 ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate.costs import FLOAT_BYTES, QUIET, Costs, Delays
from benchmarks.simulate.layouts import Levels, Ranks

Times = NDArray[np.float64]
MAX_PART_BYTES = 1 << 20
"""Largest part of gloo's ring."""

_POOL = 1 << 18


class Simulation:
    """All ranks of a world, each with a clock.

    Args:
        world_size: Number of ranks.
        node: Ranks per node. Consecutive ranks share a node.
        costs: Deterministic times.
        delays: Random delays.
        seed: Seed of the random delays.

    Attributes:
        clocks: Time at which each rank has finished all work so far, in seconds.
        messages: Number of messages sent or received by each rank.
        calls: Number of collectives called by each rank.
    """

    def __init__(self, world_size: int, *, node: int, costs: Costs, delays: Delays = QUIET, seed: int = 0) -> None:
        self.clocks: Times = np.zeros(world_size)
        self.messages = np.zeros(world_size)
        self.calls = np.zeros(world_size)
        self._costs = costs
        self._delays = delays
        self._node = np.arange(world_size) // node
        self._random = np.random.default_rng(seed)
        self._pool = self._random.exponential(delays.message_s, _POOL)
        self._pool += delays.late_s * (self._random.random(_POOL) < delays.late_share)
        self._chance = bool(delays.message_s or delays.late_share)
        self._asks = _asks(costs)

    def all_reduce(self, levels: Levels, values: int) -> None:
        """Reduce upwards through the levels and broadcast down, like ranklog's `HierarchicalWorld`."""
        for groups in levels:
            for members in _stacked(groups):
                began = self._begin(members)
                self._ring(members, values)
                self._learn(members, began)
        for groups in levels[-2::-1] if len(levels) > 1 else ():
            self._broadcast(groups, values * FLOAT_BYTES)

    def all_gather(self, levels: Levels, size_bytes: int) -> None:
        """Gather every rank's bytes: in each group the lengths, then a ring, then a broadcast down."""
        for groups in levels:
            for members in _stacked(groups):
                began = self._begin(members)
                self._ring(members, len(members))
                self._learn(members, began)
                began = self._begin(members)
                self._gather_ring(members, size_bytes)
                self._learn(members, began)
            size_bytes *= max(len(group) for group in groups)
        for groups in levels[-2::-1] if len(levels) > 1 else ():
            self._broadcast(groups, FLOAT_BYTES)
            self._broadcast(groups, size_bytes)

    def _broadcast(self, groups: Sequence[Ranks], size_bytes: int) -> None:
        for members in _stacked(groups):
            began = self._begin(members)
            self._tree(members, size_bytes)
            self._learn(members, began)

    def _begin(self, members: Ranks) -> Times:
        began: Times = self.clocks[members]
        self.clocks[members] = began + self._costs.call_s
        return began

    def _learn(self, members: Ranks, began: Times) -> None:
        """Let the calling thread poll for the result, and continue when it gets the interpreter lock."""
        done = self.clocks[members]
        if len(self._asks):
            done = began + self._asks[np.searchsorted(self._asks, done - began)]
        if self._delays.lock_share:
            done = done + self._delays.lock_s * (self._random.random(done.shape) < self._delays.lock_share)
        self.clocks[members] = done
        self.calls[members] += 1

    def _ring(self, members: Ranks, values: int) -> None:
        """Gloo's all_reduce: parts travel around the ring once to be summed and once to be distributed.

        Each rank sends to the previous one. There are two parts per rank. A part has complete values, so with few
        values most parts are empty and are not sent.
        """
        size = len(members)
        if size == 1 or not values:
            return
        part_values = -(-values // (2 * size))
        if part_values * FLOAT_BYTES > MAX_PART_BYTES:
            raise ValueError(f"{values} values over {size} ranks: gloo would make more parts than are simulated")
        filled = -(-values // part_values)
        for first in (1, 0):  # first rank r sends the part that begins at rank r + 1, then its own
            self._go_round(members, filled, part_values * FLOAT_BYTES, first)

    def _gather_ring(self, members: Ranks, size_bytes: int) -> None:
        """Gloo's all_gather: the bytes of each rank travel around the ring in two halves."""
        if len(members) > 1:
            self._go_round(members, 2 * len(members), size_bytes / 2, 0)

    def _go_round(self, members: Ranks, filled: int, part_bytes: float, first: int) -> None:
        """Send all parts once around the ring, two per rank in flight; only the first ``filled`` parts are not empty.

        The ranks lie in one long row. The position of part 0 moves by one rank per iteration, so senders and receivers
        are always adjacent in memory. The rank that leaves the row at its end enters again at its start.
        """
        size = len(members)
        row = (np.arange(2 * size - 1) - (size - 1) - first) % size
        clocks = self.clocks[members][row]
        wires = self._wires(members, np.roll(members, 1, axis=0), part_bytes)[row]
        counts = ((filled + 1) // 2, filled // 2)
        width = clocks[0].size
        starts = iter(self._random.integers(_POOL - size * width, size=2 * size).tolist())
        under_way: list[tuple[int, Times]] = []
        for here in range(size - 1, 0, -1):
            if here < size - 1:
                clocks[here] = clocks[here + size]
            for count in counts:
                if len(under_way) == 2:
                    self._receive(clocks, *under_way.pop(0))
                left = clocks[here : here + count]
                left += self._costs.send_s
                arrived = left + wires[here : here + count]
                if self._chance:
                    start = next(starts)
                    arrived += self._pool[start : start + count * width].reshape(arrived.shape)
                under_way.append((here - 1, arrived))
        clocks[0] = clocks[size]
        for each in under_way:
            self._receive(clocks, *each)
        self.clocks[members[row[:size]]] = clocks[:size]
        self.messages[members] += 2 * filled * (size - 1) / size  # a part passes all ranks except one

    def _receive(self, clocks: Times, at: int, arrived: Times) -> None:
        receivers = clocks[at : at + len(arrived)]
        np.maximum(receivers, arrived, out=receivers)
        receivers += self._costs.receive_s

    def _tree(self, members: Ranks, size_bytes: float) -> None:
        """Gloo's broadcast: a binomial tree from the first member."""
        size = len(members)
        reached = 1
        while reached < size:
            peers = members[reached : 2 * reached]
            senders = members[: len(peers)]
            left = self.clocks[senders] + self._costs.send_s
            arrived = left + self._wires(senders, peers, size_bytes)
            if self._chance:
                arrived = arrived + self._delay(arrived.shape)
            self.clocks[senders] = left
            self.clocks[peers] = np.maximum(self.clocks[peers], arrived) + self._costs.receive_s
            self.messages[senders] += 1
            self.messages[peers] += 1
            reached *= 2

    def _wires(self, senders: Ranks, receivers: Ranks, size_bytes: float) -> Times:
        costs = self._costs
        near = costs.wire_node_s + size_bytes * costs.byte_node_s
        far = costs.wire_net_s + size_bytes * costs.byte_net_s
        return np.where(self._node[senders] == self._node[receivers], near, far)

    def _delay(self, shape: tuple[int, ...]) -> Times:
        """Return delays of ``count`` messages: a random section of a pool."""
        count = math.prod(shape)
        start = int(self._random.integers(_POOL - count))
        return self._pool[start : start + count].reshape(shape)


def _asks(costs: Costs) -> Times:
    """Return the polling times of a thread, counted from its call; empty without polling."""
    asks: list[float] = []
    pause_s = costs.first_ask_s
    while pause_s and (not asks or asks[-1] < 60.0):
        asks.append((asks[-1] if asks else 0.0) + pause_s + costs.wake_s)
        pause_s = min(pause_s * costs.ask_factor, costs.last_ask_s)
    return np.array(asks)


def _stacked(groups: Sequence[Ranks]) -> list[Ranks]:
    """Return groups of equal size as columns: (member, group)."""
    sizes: dict[int, list[Ranks]] = {}
    for group in groups:
        sizes.setdefault(len(group), []).append(group)
    return [np.stack(same, axis=1) for same in sizes.values()]
