"""Exponential moving mean, corrected for its start. Pure.

The mean starts at 0 and is divided by the weight that it has collected, as in Adam (Kingma and Ba 2015), so a constant
stays itself. Values that are NaN or infinite take no part and stay as they are.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from ranklog.view.index.columns import Floats


def smooth(values: Floats, weight: float) -> Floats:
    """Return the smoothed values.

    Args:
        values: Values in the order of the axis.
        weight: Share of the mean that each value keeps of the one before it, from 0 (no smoothing) to below 1.

    Example:
        >>> smooth(np.array([5.0, 5.0, np.nan, 5.0]), 0.9).round(9).tolist()
        [5.0, 5.0, nan, 5.0]
    """
    finite = np.isfinite(values)
    numbers = values[finite]
    if not len(numbers):
        return values
    means = accumulate((numbers * (1 - weight)).tolist(), lambda mean, value: weight * mean + value)
    collected = -np.expm1(np.log(weight) * np.arange(1, len(numbers) + 1)) if weight else np.ones(len(numbers))
    out = values.copy()
    out[finite] = np.fromiter(means, np.float64, len(numbers)) / collected
    return out
