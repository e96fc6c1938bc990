"""Positions of rows on the axis of a chart. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ranklog.model.record import Attempt
from ranklog.view.index.columns import Floats, Ints

AXES = ("step", "time", "relative", "running")
"""``step``; ``time`` in seconds since the epoch; ``relative``: seconds since the first attempt began; ``running``: the
same without the pauses between attempts."""


def relative_s(time_ns: Ints, begun_ns: int) -> Floats:
    """Return seconds since a moment."""
    return (time_ns - begun_ns) / 1e9


def running_s(time_ns: Ints, attempts: Sequence[Attempt], last_ns: Mapping[int, int]) -> Floats:
    """Return seconds since the first attempt began, without pauses.

    Args:
        time_ns: Time of each row.
        attempts: Attempts in order.
        last_ns: Time of the last record of each attempt, by number.
    """
    begins, pauses = np.empty(len(attempts), np.int64), np.zeros(len(attempts), np.int64)
    before, pause = None, 0
    for number, attempt in enumerate(attempts):
        begins[number] = attempt.time_ns
        if before is not None:
            pause += max(0, attempt.time_ns - before)
        pauses[number] = pause
        before = max(before or 0, last_ns.get(attempt.attempt, attempt.time_ns))
    place = np.maximum(np.searchsorted(begins, time_ns, "right") - 1, 0)
    return relative_s(time_ns - pauses[place], int(begins[0]))


def last_known(step: Ints, other_step: Ints, other: Floats) -> Floats:
    """Return the value of another metric at each step, or its last one before; NaN before its first."""
    place = np.searchsorted(other_step, step, "right") - 1
    return np.where(place >= 0, other[np.maximum(place, 0)], np.nan) if len(other) else np.full(len(step), np.nan)
