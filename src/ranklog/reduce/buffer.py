"""Buffer of one rank's values that wait for reduction: an ordered list of rows that close as steps pass.

A row holds all names that were added at one step for one reduction and one set of backends, in order of arrival. It is
open while that step is the latest; several samples of a name are merged. An add at another step, or `close_all`,
closes it for good; later values of the same step start a new row. Rows keep the program's order, which shows other
ranks that this rank has passed a step. The drain thread calls `add` and `close_all`, the reducer thread the rest; a
lock protects both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec
import numpy as np

from ranklog.abc import Floats
from ranklog.reduce.ops import (
    QUANTILES,
    WEIGHTED_OPS,
    States,
    check_weight,
    concatenate,
    empty_states,
    merge,
    states_of,
)
from ranklog.reduce.sketch import bins_of, merge_bins

_FOLD_SAMPLES = 1024


class PerRank(msgspec.Struct, frozen=True):
    """Values that each rank keeps as a separate series: the op ``per_rank``."""

    values: dict[str, float]
    step: int
    to: int
    time_ns: int


class Row:
    """Names and samples of one step, one reduction and one set of backends.

    Attributes:
        names: Names in order of arrival.
        group: Number of the run of adds at one step that the row belongs to; rows of one group close together.
        closed_s: Monotonic time at which the row closed.
    """

    __slots__ = (
        "_extra", "_folded", "_positions", "_values", "_weights", "closed_s", "group", "names", "op", "rank",
        "step", "time_ns", "to",
    )  # fmt: skip

    def __init__(self, *, rank: int, step: int, op: str, to: int, time_ns: int, group: int) -> None:
        self.rank = rank
        self.names: list[str] = []
        self.step = step
        self.op = op
        self.to = to
        self.time_ns = time_ns
        self.group = group
        self.closed_s = 0.0
        self._positions: dict[str, int] = {}
        self._values: list[float] = []  # first sample of each name
        self._weights: list[float] | None = None  # None means 1 for all
        self._extra: list[tuple[int, float, float]] = []  # further samples: position, value, weight
        self._folded: States | None = None  # samples before those in `_extra`

    def add(self, values: Mapping[str, float], weight: float) -> None:
        """Add one sample of each name."""
        if not self.names:  # the common case: one call per row
            self.names = list(values)
            self._values = list(values.values())
            self._weights = None if weight == 1.0 else [weight] * len(self.names)
            return
        positions = self._positions
        if not positions:
            positions.update((name, index) for index, name in enumerate(self.names))
        for name, value in values.items():
            position = positions.get(name)
            if position is not None:
                self._extra.append((position, value, weight))
                continue
            positions[name] = len(self.names)
            self.names.append(name)
            self._values.append(value)
            if self._weights is not None:
                self._weights.append(weight)
            elif weight != 1.0:
                self._weights = [1.0] * (len(self.names) - 1) + [weight]
        if len(self._extra) > _FOLD_SAMPLES + 8 * len(self.names):
            self._folded, self._extra = self._fold_extra(), []

    def simple(self) -> Sequence[float] | None:
        """Return the values if the row has one sample of weight 1 per name, else None."""
        return None if self._extra or self._weights or self._folded else self._values

    def states(self) -> States:
        """Return the state of every name."""
        weights = None if self._weights is None else np.array(self._weights)
        binned = np.arange(len(self.names)) if self.op in QUANTILES else None
        first = states_of(np.array(self._values, dtype=np.float64), weights, self.rank, binned)
        if self._extra or self._folded:
            first = merge(first, self._fold_extra())
        return first

    def _fold_extra(self) -> States:
        """Return the state of all samples except the first of each name."""
        total = self._folded_widened()
        # Merge the samples of a name in pairs: as exact as one by one, with fewer numpy calls.
        queues: dict[int, list[int]] = {}
        for index, (position, _, _) in enumerate(self._extra):
            queues.setdefault(position, []).append(index)
        if not queues:
            return total
        values = np.array([value for _, value, _ in self._extra], dtype=np.float64)
        samples = states_of(values, np.array([weight for _, _, weight in self._extra]), self.rank)
        if self.op in QUANTILES:
            bins = bins_of(np.array([position for position, _, _ in self._extra]), values)
            total.bins = merge_bins([total.bins, bins]) if total.bins else bins
        while any(len(queue) > 1 for queue in queues.values()):
            left = [i for queue in queues.values() for i in queue[0 : len(queue) // 2 * 2 : 2]]
            right = [i for queue in queues.values() for i in queue[1 : len(queue) // 2 * 2 : 2]]
            samples.table[:, left] = merge(samples.take(left), samples.take(right)).table
            queues = {position: queue[0::2] for position, queue in queues.items()}
        target, source = list(queues), [queue[0] for queue in queues.values()]
        total.table[:, target] = merge(total.take(target), samples.take(source)).table
        return total

    def _folded_widened(self) -> States:
        """Return the state of the samples folded so far, for all names that exist now."""
        folded = empty_states(len(self.names))
        if self._folded is not None:
            folded.table[:, : len(self._folded)] = self._folded.table
            folded.bins = self._folded.bins
        return folded

    def without(self, names: set[str]) -> Row:
        """Return the row without some of its names. For closed rows."""
        kept = [i for i, name in enumerate(self.names) if name not in names]
        row = Row(rank=self.rank, step=self.step, op=self.op, to=self.to, time_ns=self.time_ns, group=self.group)
        row.closed_s = self.closed_s
        row.names = [self.names[i] for i in kept]
        row._values = [self._values[i] for i in kept]
        row._weights = None if self._weights is None else [self._weights[i] for i in kept]
        new = {old: i for i, old in enumerate(kept)}
        row._extra = [(new[p], value, weight) for p, value, weight in self._extra if p in new]
        if self._folded is not None:
            row._folded = self._folded_widened().take(kept)
        return row


def stack(rows: Sequence[Row]) -> States:
    """Return the states of all names of several rows, one after the other."""
    simple = [values for row in rows if (values := row.simple()) is not None]
    if len(simple) < len(rows):
        return concatenate([row.states() for row in rows])
    flat: Floats = np.fromiter(chain.from_iterable(simple), np.float64)
    binned = None
    if not {row.op for row in rows}.isdisjoint(QUANTILES):
        binned = np.flatnonzero(np.repeat([row.op in QUANTILES for row in rows], [len(row.names) for row in rows]))
    return states_of(flat, None, rows[0].rank, binned)


class Buffer:
    """Rows of one rank.

    Args:
        rank: This rank.
    """

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._closed = 0
        self._open: dict[tuple[str, int], Row] = {}
        self._step: int | None = None
        self._group = 0
        self._per_rank: list[PerRank] = []
        self._max_closed_step: int | None = None
        self._ever_added = False

    def add(
        self, values: Mapping[str, float], *, step: int, op: str, to: int, time_ns: int, weight: float = 1.0
    ) -> None:
        """Add one sample of each name; ``weight`` counts for mean, std and stats.

        Args:
            values: Names and values; not empty.
            step: The user's step, a signed 64-bit number.
            op: A reduction of `ranklog.model.spec.OPS`.
            to: Backends, as a bit mask.
            time_ns: When the call was made.
            weight: Weight of this sample; finite, 0 or above.

        Raises:
            InvalidArgumentError: the weight is not allowed.
        """
        if weight != 1.0:
            weight = check_weight(weight) if op in WEIGHTED_OPS else 1.0
        with self._lock:
            if op == "per_rank":
                self._per_rank.append(PerRank(dict(values), step, to, time_ns))
                return
            if step != self._step:
                self._close_open()
                self._step = step
            row = self._open.get((op, to))
            if row is None:
                row = self._open[op, to] = Row(
                    rank=self.rank, step=step, op=op, to=to, time_ns=time_ns, group=self._group
                )
                self._rows.append(row)
                self._ever_added = True
            row.add(values, weight)

    def close_all(self) -> None:
        """Close every row, because no more values come for the current step, or nobody wants to wait for them."""
        with self._lock:
            self._close_open()

    def _close_open(self) -> None:
        if self._step is None:
            return
        now_s = time.monotonic()
        for row in self._open.values():
            row.closed_s = now_s
        if self._open and (self._max_closed_step is None or self._step > self._max_closed_step):
            self._max_closed_step = self._step
        self._open.clear()
        self._closed = len(self._rows)
        self._group += 1
        self._step = None

    @property
    def pending(self) -> bool:
        """Whether any added value has not been taken yet, including open rows."""
        return bool(self._rows or self._per_rank)

    @property
    def closed_count(self) -> int:
        """Number of closed rows."""
        return self._closed

    @property
    def max_closed_step(self) -> int | None:
        """Highest step of any row ever closed; None before the first."""
        return self._max_closed_step

    @property
    def ever_added(self) -> bool:
        """Whether this rank has ever had a value to reduce."""
        return self._ever_added

    def closed_age_s(self) -> float:
        """Return the seconds since the oldest closed row closed; 0 without one."""
        with self._lock:
            return time.monotonic() - self._rows[0].closed_s if self._closed else 0.0

    def closed(self, limit: int) -> list[Row]:
        """Return the first closed rows; they stay in the buffer."""
        with self._lock:
            return self._rows[: min(limit, self._closed)]

    def drop(self, count: int) -> None:
        """Remove the first closed rows."""
        with self._lock:
            del self._rows[:count]
            self._closed -= count

    def replace(self, rows: Sequence[Row], count: int) -> None:
        """Replace the first ``count`` closed rows by ``rows``."""
        with self._lock:
            self._rows[:count] = rows
            self._closed += len(rows) - count

    def restore(self, rows: Sequence[Row], count: int) -> None:
        """Replace the first ``count`` closed rows by ``rows``, in program order with the other closed rows."""
        with self._lock:
            closed = sorted([*rows, *self._rows[count : self._closed]], key=lambda row: row.group)
            self._rows[: self._closed] = closed
            self._closed = len(closed)

    def take_per_rank(self) -> list[PerRank]:
        """Remove and return the values of the op ``per_rank``."""
        with self._lock:
            taken, self._per_rank = self._per_rank, []
            return taken
