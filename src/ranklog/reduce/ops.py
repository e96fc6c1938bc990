"""The maths of reduction: samples to mergeable states, states to results. Pure.

A state represents all samples of one name at one step on some ranks. The states of many names form one table, so numpy
works on all of them at once. Two states merge into the state of both (Chan, Golub, LeVeque 1979 for the second
moment). Merged in rank order, the result does not depend on timing.

Non-finite samples take no part in mean, sum, std, min, max and quantiles. They are counted separately; if no finite
sample remains, the result is NaN. A weight only affects mean and std; a sample of weight 0 still takes part in count,
min, max and quantiles. If all weights are 0, mean and std are NaN. Quantiles need bins next to the table, which are
only made for names that need them. An overflow becomes infinite and never causes a numpy warning, even if the program
turns warnings into errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ranklog.abc import Floats
from ranklog.model.errors import InvalidArgumentError
from ranklog.reduce.sketch import Bins, Ints, bins_of, merge_bins, quantiles

FIELDS = 10
COUNT, WEIGHT, TOTAL, M2, LOW, HIGH, LOW_RANK, HIGH_RANK, NONFINITE, NONFINITE_RANK = range(FIELDS)
NO_RANK = float(2**52)

STATS = ("mean", "std", "min", "max", "min_rank", "max_rank", "count")
QUANTILES = {"median": 0.5, "p99": 0.99}
SPREAD_OPS = frozenset({"std", "stats"})
EXTREME_OPS = frozenset({"min", "max", "stats", *QUANTILES})
WEIGHTED_OPS = frozenset({"mean", "std", "stats"})


class States:
    """States of many names: a table with one row per field and one column per name.

    Fields:

    - COUNT: number of finite samples; WEIGHT: sum of their weights; TOTAL: their weighted sum;
    - M2: weighted squared deviations from the mean;
    - LOW, HIGH: the extremes; LOW_RANK, HIGH_RANK: the lowest rank that had each;
    - NONFINITE: number of NaN and infinite samples; NONFINITE_RANK: the lowest rank that had one.

    Attributes:
        table: The fields.
        bins: Samples of the names that need a quantile; None if there are no such names.
    """

    __slots__ = ("bins", "table")

    def __init__(self, table: Floats, bins: Bins | None = None) -> None:
        self.table = table
        self.bins = bins

    def __len__(self) -> int:
        return int(self.table.shape[1])

    @property
    def mean(self) -> Floats:
        """Weighted mean; NaN without weight."""
        with np.errstate(all="ignore"):
            return np.where(self.table[WEIGHT] > 0, self.table[TOTAL] / self.table[WEIGHT], np.nan)

    def take(self, positions: Sequence[int]) -> States:
        """Return the states at these positions, in this order."""
        return States(self.table[:, list(positions)], self.bins and self.bins.take(positions))

    def part(self, start: int, end: int) -> States:
        """Return the states from position ``start`` to ``end``."""
        return States(self.table[:, start:end], self.bins and self.bins.part(start, end))


def empty_states(size: int) -> States:
    """Return states without any samples."""
    table = np.zeros((FIELDS, size))
    table[LOW] = np.inf
    table[HIGH] = -np.inf
    table[[LOW_RANK, HIGH_RANK, NONFINITE_RANK]] = NO_RANK
    return States(table)


def concatenate(parts: Sequence[States]) -> States:
    """Join several tables, one after the other."""
    table = np.concatenate([part.table for part in parts], axis=1)
    if all(part.bins is None for part in parts):
        return States(table)
    starts = accumulate((len(part) for part in parts), initial=0)
    return States(table, merge_bins([p.bins.shifted(s) for p, s in zip(parts, starts, strict=False) if p.bins]))


def states_of(values: Floats, weights: Floats | None, rank: int, binned: Ints | None = None) -> States:
    """Return states of one sample each.

    Args:
        values: The samples.
        weights: Their weights; None means 1 for all.
        rank: Rank that logged them.
        binned: Positions of the samples that need bins for a quantile; None means none.
    """
    with np.errstate(all="ignore"):
        states = _states_of(values, weights, rank)
    if binned is not None:
        states.bins = bins_of(binned, values[binned])
    return states


def _states_of(values: Floats, weights: Floats | None, rank: int) -> States:
    states = empty_states(len(values))
    table = states.table
    finite = np.isfinite(values)
    if finite.all():
        table[COUNT] = 1
        table[WEIGHT] = 1 if weights is None else weights
        table[TOTAL] = values if weights is None else values * weights
        table[LOW] = table[HIGH] = values
        table[[LOW_RANK, HIGH_RANK]] = rank
        return states
    table[COUNT] = finite
    table[WEIGHT] = finite if weights is None else np.where(finite, weights, 0)
    table[TOTAL] = np.where(finite, values, 0) * table[WEIGHT]
    table[LOW] = np.where(finite, values, np.inf)
    table[HIGH] = np.where(finite, values, -np.inf)
    table[[LOW_RANK, HIGH_RANK]] = np.where(finite, rank, NO_RANK)
    table[NONFINITE] = ~finite
    table[NONFINITE_RANK] = np.where(finite, NO_RANK, rank)
    return states


def merge(first: States, second: States) -> States:
    """Merge the samples of both; for equal extremes the lower rank is kept."""
    with np.errstate(all="ignore"):
        table = _merge(first, second)
    bins = [states.bins for states in (first, second) if states.bins]
    return States(table, merge_bins(bins) if bins else None)


def _merge(first: States, second: States) -> Floats:
    a, b = first.table, second.table
    out = np.empty_like(a)
    for field in (COUNT, WEIGHT, TOTAL, NONFINITE):
        out[field] = a[field] + b[field]
    delta = second.mean - first.mean
    between = delta * delta * (a[WEIGHT] * (b[WEIGHT] / out[WEIGHT]))
    both = (a[WEIGHT] > 0) & (b[WEIGHT] > 0)
    out[M2] = a[M2] + b[M2] + np.where(both, between, 0)
    out[LOW] = np.minimum(a[LOW], b[LOW])
    out[HIGH] = np.maximum(a[HIGH], b[HIGH])
    for value, rank in ((LOW, LOW_RANK), (HIGH, HIGH_RANK)):
        of_a = np.where(a[value] == out[value], a[rank], NO_RANK)
        of_b = np.where(b[value] == out[value], b[rank], NO_RANK)
        out[rank] = np.minimum(of_a, of_b)
    out[NONFINITE_RANK] = np.minimum(a[NONFINITE_RANK], b[NONFINITE_RANK])
    return out


def results(states: States, op: str) -> dict[str, Floats]:
    """Return the results of one reduction, by suffix of the name (empty except for ``stats``).

    mean = Σwx/Σw; sum = Σx; std = sqrt(Σw(x-mean)²/Σw), of the population; count = finite samples; median and p99
    interpolate linearly between two samples, each at most 1 % off.
    """
    table = states.table
    some = table[COUNT] > 0

    def known(field: int) -> Floats:
        return np.where(some, table[field], np.nan)

    if op == "mean":
        return {"": states.mean}
    if op == "sum":
        return {"": known(TOTAL)}
    if op == "min":
        return {"": known(LOW)}
    if op == "max":
        return {"": known(HIGH)}
    if op in QUANTILES:
        if states.bins is None:
            raise ValueError(f"states without bins have no {op}")
        return {"": quantiles(states.bins, QUANTILES[op], table[LOW], table[HIGH])}
    with np.errstate(all="ignore"):
        std = np.sqrt(np.where(table[WEIGHT] > 0, table[M2] / table[WEIGHT], np.nan))
    if op == "std":
        return {"": std}
    columns = (states.mean, std, known(LOW), known(HIGH), known(LOW_RANK), known(HIGH_RANK), table[COUNT])
    return {f"/{suffix}": column for suffix, column in zip(STATS, columns, strict=True)}


def check_weight(weight: float) -> float:
    """Return ``weight`` as float if it can weight a sample.

    Raises:
        InvalidArgumentError: it is negative, not finite, or not a number.
    """
    try:
        number = float(weight)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidArgumentError(f"weight={weight!r} is not allowed: give a finite number of 0 or above")
    return number
