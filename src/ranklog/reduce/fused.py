"""Reduce equally long tables of states over all ranks with few all_reduces. Pure but for the collectives.

Every rank must pass the same names in the same order with the same reductions; `agree_on` checks this. Only the fields
that the reductions need travel. Sums always do, squared deviations for std and stats, extremes for all except mean, sum
and std, ranks for stats. The first rank with a NaN only travels if there is one. For median and p99, the ranks agree on
the span of the bins and then sum all counts within it. The reductions and agreed numbers alone decide which calls are
made, so all ranks make the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ranklog.abc import Floats, ReduceOp, World
from ranklog.model.errors import WorldError
from ranklog.reduce.ops import (
    COUNT,
    EXTREME_OPS,
    HIGH,
    HIGH_RANK,
    LOW,
    LOW_RANK,
    M2,
    NO_RANK,
    NONFINITE,
    NONFINITE_RANK,
    QUANTILES,
    SPREAD_OPS,
    TOTAL,
    WEIGHT,
    States,
    empty_states,
)
from ranklog.reduce.sketch import NO_BINS, Bins, Layout, merge_bins, spans


class Deadline:
    """One time limit for several collectives."""

    def __init__(self, world: World, timeout_s: float) -> None:
        self._world = world
        self._timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s

    def _left_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise WorldError(f"the ranks did not finish a round within {self._timeout_s:g} s")
        return left_s

    def all_reduce(self, values: Floats, op: ReduceOp) -> Floats:
        """Call `World.all_reduce` within the remaining time."""
        return self._world.all_reduce(values, op=op, timeout_s=self._left_s())

    def all_gather(self, data: bytes) -> list[bytes]:
        """Call `World.all_gather` within the remaining time."""
        return self._world.all_gather(data, timeout_s=self._left_s())


def digest(data: bytes) -> float:
    """Return a stable 52-bit hash, exact as float64."""
    return float(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 12)


def agree_on(data: bytes, calls: Deadline) -> bool:
    """Return whether every rank passed the same bytes; the same answer on every rank."""
    number = digest(data)
    low, high = calls.all_reduce(np.array([number, -number]), "min")
    return bool(low == -high)


def reduce_fused(states: States, ops: Sequence[str], lengths: Sequence[int], calls: Deadline, rank: int) -> States:
    """Combine the states of all ranks. ``ops`` has one reduction per run of columns, ``lengths`` its length.

    Fields that no reduction of a column needs stay as for no samples.
    """
    with np.errstate(all="ignore"):
        return _reduce_fused(states, ops, lengths, calls, rank)


def _reduce_fused(states: States, ops: Sequence[str], lengths: Sequence[int], calls: Deadline, rank: int) -> States:
    present = set(ops)

    def columns(wanted: Collection[str]) -> NDArray[np.intp]:
        if present.isdisjoint(wanted):
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(np.repeat([op in wanted for op in ops], lengths))

    local = states.table
    total = empty_states(len(states))
    out = total.table
    summed = [COUNT, WEIGHT, TOTAL, NONFINITE]
    out[summed] = calls.all_reduce(local[summed].ravel(), "sum").reshape(len(summed), -1)

    spread = columns(SPREAD_OPS)
    if len(spread):
        delta = states.mean[spread] - total.mean[spread]
        moved = local[M2, spread] + local[WEIGHT, spread] * delta * delta
        out[M2, spread] = calls.all_reduce(np.where(local[WEIGHT, spread] > 0, moved, 0.0), "sum")

    extreme = columns(EXTREME_OPS)
    if len(extreme):
        both = calls.all_reduce(np.concatenate([local[LOW, extreme], -local[HIGH, extreme]]), "min")
        out[LOW, extreme], out[HIGH, extreme] = both[: len(extreme)], -both[len(extreme) :]

    ranked = columns({"stats"})
    if len(ranked):
        at_low = np.where(local[LOW, ranked] == out[LOW, ranked], local[LOW_RANK, ranked], NO_RANK)
        at_high = np.where(local[HIGH, ranked] == out[HIGH, ranked], local[HIGH_RANK, ranked], NO_RANK)
        both = calls.all_reduce(np.concatenate([at_low, at_high]), "min")
        out[LOW_RANK, ranked], out[HIGH_RANK, ranked] = both[: len(ranked)], both[len(ranked) :]

    sketched = columns(QUANTILES)
    if len(sketched):
        total.bins = _reduce_bins(states.bins or NO_BINS, sketched, calls)

    odd = np.flatnonzero(out[NONFINITE] > 0)
    if len(odd):
        out[NONFINITE_RANK, odd] = calls.all_reduce(np.where(local[NONFINITE, odd] > 0, rank, NO_RANK), "min")
    return total


def _reduce_bins(bins: Bins, columns: NDArray[np.intp], calls: Deadline) -> Bins:
    """Combine the bins of these columns over all ranks."""
    bins = bins.take(columns)
    layout = Layout(calls.all_reduce(spans(bins, len(columns)).ravel(), "min").reshape(4, -1))
    parts = [
        layout.bins(calls.all_reduce(layout.dense(bins, start, end), "sum"), start, end)
        for start, end in layout.slices()
    ]
    return merge_bins(parts).spread(columns)
