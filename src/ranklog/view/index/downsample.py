"""Few rows that show everything of many: the first, the last, and the lowest and highest of each bucket. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ranklog.view.index.columns import Floats, Ints
from ranklog.view.index.extremes import Extremes, extremes_of

LEAST_POINTS = 2


class Buckets(NamedTuple):
    """Buckets of neighbouring rows of a series.

    Attributes:
        x: Position of the first row of each bucket on the axis.
        extremes: Its extremes, and its counts of NaN and infinities.
    """

    x: Ints | Floats
    extremes: Extremes


class Infinite(NamedTuple):
    """The first row with +Inf and the first with -Inf; empty arrays if there is none."""

    positive: Ints
    negative: Ints


def bucket_starts(x: Ints | Floats, buckets: int) -> Ints:
    """Return the first row of each bucket that is not empty: buckets of equal width in x, or one per row.

    Args:
        x: Position of each row on the axis, not decreasing and finite; at least one.
        buckets: Number of buckets, at least 1.
    """
    if buckets >= len(x):
        return np.arange(len(x))
    first, last = float(x[0]), float(x[-1])
    edges = first + (last - first) * (np.arange(1, buckets) / buckets)
    starts = np.unique(np.concatenate(([0], np.searchsorted(x, edges))))
    return starts[starts < len(x)].astype(np.int64)


def sample(values: Floats, x: Ints | Floats, points: int) -> tuple[Ints, Buckets]:
    """Choose rows of a series: the first, the last, and the lowest and highest of each bucket.

    Args:
        values: Its values, at least one.
        x: Position of each row on the axis, not decreasing and finite.
        points: At least `LEAST_POINTS`.

    Returns:
        The chosen rows, increasing, at most ``2 * points`` of them; and the buckets.
    """
    infinite = Infinite(np.flatnonzero(values == np.inf)[:1], np.flatnonzero(values == -np.inf)[:1])
    starts = bucket_starts(x, bucket_count(points, infinite))
    found = extremes_of(values, starts)
    return chosen_rows(found, (0, len(values) - 1), infinite, points), Buckets(x[starts], found)


def bucket_count(points: int, infinite: Infinite) -> int:
    """Return the number of buckets that leaves room for the first and last row, and for infinite values."""
    return max(1, points - 1 - any(len(rows) for rows in infinite))


def chosen_rows(found: Extremes, ends: tuple[int, int], infinite: Infinite, points: int) -> Ints:
    """Return the rows to show: the ends of the range, infinite values, and the extremes of the buckets.

    Infinite values are the least and greatest of the range, so they come before finite ones if there is little room.
    """
    finite = (found.low_at, found.high_at) if len(infinite.positive) else (found.high_at, found.low_at)
    rows = np.concatenate((ends, *infinite, *finite)).astype(np.int64)
    return np.unique(rows[: 2 * points])
