"""Quantiles of many samples in bounded memory: samples to mergeable bins, bins to quantiles. Pure.

A DDSketch (Masson, Rim, Lee 2019) of relative accuracy 1 %. A sample is counted in the bin of its magnitude and sign,
and each bin is 1.01/0.99 times as wide as the one before. Any returned sample is at most 1 % off, however many samples
there were. The bins of many names are one pair of arrays, so numpy works on all of them at once and they travel in an
all_reduce. Merging adds counts, so it does not depend on order. For each name the 4096 largest magnitudes are kept,
about 35 powers of ten; smaller samples count as the smallest one kept. Non-finite samples are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ranklog.abc import Floats

Ints = NDArray[np.int64]

ACCURACY = 0.01
KEPT_MAGNITUDES = 4096
VECTOR_LIMIT = 2**20

_LOG_GROWTH = math.log((1 + ACCURACY) / (1 - ACCURACY))
_FIRST = math.ceil(math.log(math.ulp(0.0)) / _LOG_GROWTH) - 1  # the smallest float64 has magnitude 1
_MOST = math.ceil(math.log(np.finfo(np.float64).max) / _LOG_GROWTH) - _FIRST
_MIDDLE = math.log(1 - ACCURACY)  # from the upper end of a bin, in logarithms, to what is 1 % off both ends
_KEY_BITS = 18
_ZERO = 2 ** (_KEY_BITS - 1)
_NONE = float(2**_KEY_BITS)  # above every magnitude


class Bins(msgspec.Struct, frozen=True):
    """Counts of the samples of many columns, one column per name.

    A sample's key is its magnitude, a number from 1, with its sign; zero has key 0. Keys therefore sort like samples.

    Attributes:
        codes: Column and key of each bin as one number, ascending.
        counts: Number of samples in each bin.
    """

    codes: Ints
    counts: Floats

    @property
    def columns(self) -> Ints:
        """Column of each bin."""
        columns: Ints = self.codes >> _KEY_BITS
        return columns

    @property
    def keys(self) -> Ints:
        """Key of each bin."""
        keys: Ints = (self.codes & (2**_KEY_BITS - 1)) - _ZERO
        return keys

    def shifted(self, columns: int) -> Bins:
        """Return the same bins, moved by this many columns."""
        return Bins(self.codes + (columns << _KEY_BITS), self.counts)

    def part(self, start: int, end: int) -> Bins:
        """Return the bins of the columns from ``start`` to ``end``, counted from ``start``."""
        first, last = np.searchsorted(self.codes, [start << _KEY_BITS, end << _KEY_BITS])
        return Bins(self.codes[first:last] - (start << _KEY_BITS), self.counts[first:last])

    def take(self, columns: Sequence[int] | Ints) -> Bins:
        """Return the bins of these columns, in this order."""
        wanted = np.asarray(columns, dtype=np.int64)
        first = np.searchsorted(self.codes, wanted << _KEY_BITS)
        lengths = np.searchsorted(self.codes, (wanted + 1) << _KEY_BITS) - first
        new = np.repeat(np.arange(len(wanted)), lengths)
        at = np.arange(len(new)) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
        return Bins(_codes(new, self.keys[at]), self.counts[at])

    def spread(self, columns: Ints) -> Bins:
        """Return the same bins with these columns, ascending, in place of 0, 1, …: the inverse of `take`."""
        return Bins(_codes(columns[self.columns], self.keys), self.counts)

    def encode(self) -> bytes:
        """Return the bins as bytes."""
        return self.codes.tobytes() + self.counts.tobytes()


NO_BINS = Bins(np.empty(0, dtype=np.int64), np.empty(0))


def decode_bins(data: bytes, columns: int) -> Bins:
    """Decode the bins of ``columns`` columns.

    Raises:
        ValueError: the bytes do not come from `Bins.encode`.
    """
    count, rest = divmod(len(data), 16)
    if rest:
        raise ValueError(f"{len(data)} bytes are not a whole number of bins")
    bins = Bins(np.frombuffer(data, np.int64, count), np.frombuffer(data, np.float64, count, offset=8 * count))
    if not count:
        return bins
    if bins.codes[0] < 0 or bins.codes[-1] >= columns << _KEY_BITS or (np.diff(bins.codes) <= 0).any():
        raise ValueError("bins are out of order")
    if (np.abs(bins.keys) > _MOST).any():
        raise ValueError("a bin lies outside float64")
    if not ((bins.counts >= 1) & (bins.counts < math.inf)).all():
        raise ValueError("a bin has an invalid count")
    return bins


def bins_of(columns: Ints, values: Floats) -> Bins:
    """Return the bins of samples, given the column of each."""
    finite = np.isfinite(values)
    if not finite.all():
        columns, values = columns[finite], values[finite]
    sizes = np.abs(values)
    magnitudes = np.zeros(len(values), dtype=np.int64)
    some = sizes > 0
    with np.errstate(all="ignore"):
        magnitudes[some] = np.ceil(np.log(sizes[some]) / _LOG_GROWTH) - _FIRST
    return _sum(_codes(columns, np.where(values < 0, -magnitudes, magnitudes)), np.ones(len(values)))


def merge_bins(all_bins: Sequence[Bins]) -> Bins:
    """Merge the samples of all bins."""
    if len(all_bins) == 1:
        return all_bins[0]
    return _sum(np.concatenate([b.codes for b in all_bins]), np.concatenate([b.counts for b in all_bins]))


def quantiles(bins: Bins, part: float, low: Floats, high: Floats) -> Floats:
    """Return the value below which this part of each column's samples lies; NaN for a column without samples.

    Interpolates linearly between two samples, like `numpy.quantile`. The extremes are known, and therefore exact.

    Args:
        bins: The samples.
        part: From 0 to 1.
        low: Smallest sample of each column.
        high: Largest sample of each column.
    """
    bounds = np.searchsorted(bins.codes, np.arange(len(low) + 1, dtype=np.int64) << _KEY_BITS)
    upto = np.concatenate([[0.0], np.cumsum(bins.counts)])
    before = upto[bounds[:-1]]
    last = upto[bounds[1:]] - before - 1
    out: Floats = np.full(len(low), np.nan)
    some = np.flatnonzero(last >= 0)
    before, last, low, high = before[some], last[some], low[some], high[some]

    def sample(index: Floats) -> Floats:
        """Return the sample at this index, in ascending order."""
        near = np.clip(_values(bins.keys[np.searchsorted(upto, before + index, side="right") - 1]), low, high)
        return np.where(index == 0, low, np.where(index == last, high, near))

    place = part * last
    below = np.floor(place)
    lower, upper = sample(below), sample(np.minimum(below + 1, last))
    out[some] = np.clip(lower * (1 - (place - below)) + upper * (place - below), lower, upper)
    return out


class Layout:
    """Positions of the counts of all columns in one dense vector; equal on all ranks that pass the same spans.

    Args:
        spans: Result of `spans`, the minimum over all ranks.
    """

    def __init__(self, spans: Floats) -> None:
        low_below, high_below, low_above, high_above = spans.astype(np.int64)
        top = -np.minimum(high_below, high_above)
        floor = np.maximum(top - KEPT_MAGNITUDES + 1, 1)
        self._least_below, self._least_above = np.maximum(low_below, floor), np.maximum(low_above, floor)
        self._most_below = np.maximum(-high_below, floor)
        self._below = np.where(low_below < _NONE, self._most_below - self._least_below + 1, 0)
        above = np.where(low_above < _NONE, np.maximum(-high_above, floor) - self._least_above + 1, 0)
        self._ends = np.cumsum(self._below + 1 + above)
        self._starts = self._ends - (self._below + 1 + above)

    def slices(self) -> Iterator[tuple[int, int]]:
        """Yield first and last (exclusive) column of vectors that are not too long."""
        start = 0
        while start < len(self._ends):
            end = int(np.searchsorted(self._ends, self._starts[start] + VECTOR_LIMIT, side="right"))
            end = max(end, start + 1)
            yield start, end
            start = end

    def dense(self, bins: Bins, start: int, end: int) -> Floats:
        """Return the dense counts of the columns from ``start`` to ``end``."""
        mine = bins.part(start, end)
        column, key = mine.columns + start, mine.keys
        below = self._most_below[column] - np.maximum(-key, self._least_below[column])
        above = self._below[column] + 1 + np.maximum(key, self._least_above[column]) - self._least_above[column]
        place = np.where(key < 0, below, np.where(key > 0, above, self._below[column]))
        size = int(self._ends[end - 1] - self._starts[start])
        return np.bincount(place + self._starts[column] - self._starts[start], mine.counts, size).astype(np.float64)

    def bins(self, counts: Floats, start: int, end: int) -> Bins:
        """Return the bins with these dense counts, in the numbering of all columns."""
        filled = np.flatnonzero(counts)
        column = np.searchsorted(self._ends[start:end], filled + self._starts[start], side="right") + start
        place = filled + self._starts[start] - self._starts[column] - self._below[column]
        key = np.where(place < 0, place + 1 - self._least_below[column], place - 1 + self._least_above[column])
        return Bins(_codes(column, np.where(place == 0, 0, key)), counts[filled])


def spans(bins: Bins, columns: int) -> Floats:
    """Return the least and most magnitude of each column's samples below and above zero, for a minimum over ranks.

    Four rows. Maxima are negated; a missing side is larger than any magnitude.
    """
    edges = np.arange(columns, dtype=np.int64) << _KEY_BITS
    first, zero, above, last = (np.searchsorted(bins.codes, edges + key) for key in (0, _ZERO, _ZERO + 1, 2**_KEY_BITS))
    out = np.full((4, columns), _NONE)
    some = zero > first
    out[0, some], out[1, some] = -bins.keys[zero[some] - 1], bins.keys[first[some]]
    some = last > above
    out[2, some], out[3, some] = bins.keys[above[some]], -bins.keys[last[some] - 1]
    return out


def _codes(columns: Ints, keys: Ints) -> Ints:
    codes: Ints = (columns << _KEY_BITS) + keys + _ZERO
    return codes


def _values(keys: Ints) -> Floats:
    """Return the value that is at most 1 % off any sample of each key."""
    with np.errstate(all="ignore"):
        return np.sign(keys) * np.exp((np.abs(keys) + _FIRST) * _LOG_GROWTH + _MIDDLE)


def _sum(codes: Ints, counts: Floats) -> Bins:
    """Sort bins, one per code, without magnitudes too small to be kept."""
    if not len(codes):
        return NO_BINS
    order = np.argsort(codes, kind="stable")
    bins = _unique(codes[order], counts[order])
    columns, keys = bins.columns, bins.keys
    first = np.flatnonzero(np.diff(columns, prepend=-1))
    last = np.append(first[1:], len(columns)) - 1
    floor = np.maximum(-keys[first], keys[last]) - KEPT_MAGNITUDES + 1
    if (floor <= 1).all():
        return bins
    least = np.repeat(floor, last - first + 1)
    kept = np.where(keys == 0, 0, np.where(keys > 0, np.maximum(keys, least), np.minimum(keys, -least)))
    return _unique(_codes(columns, kept), bins.counts)


def _unique(codes: Ints, counts: Floats) -> Bins:
    """Merge bins with equal codes; the codes are sorted."""
    new = np.flatnonzero(np.diff(codes, prepend=-1))
    return Bins(codes, counts) if len(new) == len(codes) else Bins(codes[new], np.add.reduceat(counts, new))
