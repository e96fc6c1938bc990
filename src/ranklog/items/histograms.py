"""Encoder of histograms: counts values, or keeps counts and edges. Every number in the result is finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.values.arrays import check_finite, real_array

_NARROWEST = 1e-300
"""Width of a bin below which older versions of numpy divide by zero."""


def encode_histogram(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Counts of values in ``bins`` bins of equal width, or counts and edges as they are given.

    A tuple of two sequences is always (counts, edges); other items are values.

    Raises:
        InvalidItemError: it is neither.
    """
    what = f"histogram {name!r}"
    if isinstance(item, tuple) and len(item) == 2 and all(_is_sequence(part) for part in item):
        histogram = _given(item[0], item[1], what)
    else:
        histogram = _counted(real_array(item, what, KINDS["histogram"].accepts), options["bins"])
    body = Content(file_name(name, ".json"), msgspec.json.encode(histogram))
    return Encoded(content.HISTOGRAM, (body,))


def _is_sequence(part: Any) -> bool:
    return part.ndim > 0 if hasattr(part, "ndim") else isinstance(part, (list, tuple))


def _given(counts: Any, edges: Any, what: str) -> content.Histogram:
    import numpy as np

    give = "counts and edges as sequences of numbers, one more edge than counts (values go as a list or an array)"
    counts = real_array(counts, f"{what}, counts", give).astype(np.float64)
    edges = real_array(edges, f"{what}, edges", give).astype(np.float64)
    if counts.ndim != 1 or edges.ndim != 1 or len(edges) != len(counts) + 1 or len(counts) == 0:
        shapes = f"counts of shape {counts.shape} and edges of shape {edges.shape}"
        raise InvalidItemError(f"{what} is a tuple with {shapes}: give {give}")
    check_finite(edges, f"{what}, edges,", "give the smallest and the largest value as the outer edges")
    if (np.diff(edges / 2) < 0).any():
        raise InvalidItemError(f"{what} has edges that decrease: give them in order")
    check_finite(counts, f"{what}, counts,", "give numbers of values, 0 or above")
    if (counts < 0).any():
        raise InvalidItemError(f"{what} has negative counts: give numbers of values, 0 or above")
    with np.errstate(over="ignore", invalid="ignore"):
        centres = edges[:-1] / 2 + edges[1:] / 2
        total, sum_, squares = counts.sum(), counts @ centres, counts @ centres**2
    if not np.isfinite(total):
        raise InvalidItemError(f"{what} has counts whose sum is beyond float64: give smaller ones")
    return content.Histogram(
        edges=edges.tolist(),
        counts=counts.tolist(),
        min=float(edges[0]),
        max=float(edges[-1]),
        sum=finite_or_none(sum_),
        sum_squares=finite_or_none(squares),
        count=float(total),
    )


def _counted(array: Any, bins: int) -> content.Histogram:
    import numpy as np

    values = array.astype(np.float64, copy=False).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        # If the sum is finite, so are the values, and no copy of perhaps millions of values is needed.
        finite = values if np.isfinite(values.sum()) else values[np.isfinite(values)]
        sum_, squares = finite.sum(), finite @ finite
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    first, last = bin_range(low, high, bins)
    # Half a range never overflows, and halving numbers this large loses no digit.
    scale = 1.0 if math.isfinite(last - first) else 0.5
    shrunk = finite if scale == 1.0 else finite * scale
    counts, edges = np.histogram(shrunk, bins=bins, range=(first * scale, last * scale))
    return content.Histogram(
        edges=(edges / scale).tolist(),
        counts=counts.tolist(),
        min=low,
        max=high,
        sum=finite_or_none(sum_),
        sum_squares=finite_or_none(squares),
        count=float(finite.size),
        nonfinite=int(values.size - finite.size),
    )


def bin_range(low: float, high: float, bins: int) -> tuple[float, float]:
    """The range of the bins, such that float64 can tell their edges apart.

    Equal values get bins of width 1 around them, as in numpy, or wider bins if the values are too large for that.

    Example:
        >>> bin_range(1.0, 2.0, 64), bin_range(3.0, 3.0, 64)
        ((1.0, 2.0), (2.5, 3.5))
    """
    narrowest = bins * max(4 * math.ulp(max(abs(low), abs(high))), _NARROWEST)
    if high / 2 - low / 2 >= narrowest / 2 and high > low:
        return low, high
    half = max(narrowest / 2, 0.5 if high == low else 0.0)
    middle = low / 2 + high / 2
    largest = 1.7976931348623157e308
    middle = min(max(middle, half - largest), largest - half)
    return middle - half, middle + half


def finite_or_none(number: float) -> float | None:
    """The number; None if it is beyond float64, because JSON has no infinity."""
    return float(number) if math.isfinite(number) else None
