"""Lowest and highest values of buckets of rows, and the counts of NaN and infinities. Pure.

Infinities and NaN take no part in lowest and highest. A bucket without a finite value has NaN for both, at its first
row. Extremes of buckets merge exactly into those of wider buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Extremes(NamedTuple):
    """Extremes of buckets; every array has one element per bucket.

    Attributes:
        low: Lowest finite value.
        high: Highest finite value.
        low_at: First row that has the lowest value.
        high_at: First row that has the highest value.
        nan: Number of NaN.
        posinf: Number of values that are +Inf.
        neginf: Number of values that are -Inf.
    """

    low: Floats
    high: Floats
    low_at: Ints
    high_at: Ints
    nan: Ints
    posinf: Ints
    neginf: Ints


def extremes_of(values: Floats, starts: Ints) -> Extremes:
    """Return the extremes of buckets of values.

    Args:
        values: The values; at least one.
        starts: First row of each bucket, from 0 on, strictly increasing.

    Example:
        >>> found = extremes_of(np.array([3.0, 1.0, np.nan, 2.0]), np.array([0, 2]))
        >>> found.low.tolist(), found.high_at.tolist(), found.nan.tolist()
        ([1.0, 2.0], [0, 3], [0, 1])
    """
    finite = np.isfinite(values)
    if finite.all():
        none = np.zeros(len(starts), np.int64)
        return _extremes(values, values, starts, (none, none, none))
    numbers = np.where(finite, values, np.nan)
    kinds = (np.isnan(values), np.isposinf(values), np.isneginf(values))
    nan, posinf, neginf = (np.add.reduceat(kind, starts, dtype=np.int64) for kind in kinds)
    return _extremes(numbers, numbers, starts, (nan, posinf, neginf))


def merge_extremes(parts: Extremes, starts: Ints) -> Extremes:
    """Merge neighbouring buckets into wider ones.

    Args:
        parts: Extremes of the narrow buckets.
        starts: First narrow bucket of each wide one, from 0 on, strictly increasing.
    """
    nan, posinf, neginf = (np.add.reduceat(count, starts) for count in (parts.nan, parts.posinf, parts.neginf))
    found = _extremes(parts.low, parts.high, starts, (nan, posinf, neginf))
    return found._replace(low_at=parts.low_at[found.low_at], high_at=parts.high_at[found.high_at])


def join_extremes(parts: list[tuple[int, Extremes]]) -> Extremes:
    """Join extremes of parts of a series; each part comes with the row at which it begins."""
    moved = [found._replace(low_at=found.low_at + row, high_at=found.high_at + row) for row, found in parts]
    return Extremes(*(np.concatenate(columns) for columns in zip(*moved, strict=True)))


def _extremes(lows: Floats, highs: Floats, starts: Ints, counts: tuple[Ints, Ints, Ints]) -> Extremes:
    low, high = np.fmin.reduceat(lows, starts), np.fmax.reduceat(highs, starts)
    return Extremes(low, high, _first_at(lows, low, starts), _first_at(highs, high, starts), *counts)


def _first_at(values: Floats, wanted: Floats, starts: Ints) -> Ints:
    """Return the first row of each bucket that has the wanted value; its first row if none has."""
    lengths = np.diff(starts, append=len(values))
    found = np.flatnonzero(values == np.repeat(wanted, lengths))
    first = np.append(found, len(values))[np.searchsorted(found, starts)]
    return np.where(first < starts + lengths, first, starts)
