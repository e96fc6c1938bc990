"""Which rows of a metric count. Pure.

The rule of the journal: the record that was logged last counts for a step, so a correction replaces the earlier value.
An attempt that goes back supersedes rows of earlier attempts (`ranklog.journal.superseded`). Calls without a step may
have another step number per backend. Such a call does not replace a row of its attempt that is for other backends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranklog.view.index.columns import Ints
from ranklog.view.index.tables import Rewind

Mask = NDArray[np.bool_]


def superseded_rows(*, ordinal: Ints, step: Ints, attempt: Ints, to: Ints, rewinds: Sequence[Rewind]) -> Mask:
    """Return which rows do not count.

    Args:
        ordinal: Ordinal of each row, increasing.
        step: Its step.
        attempt: Its attempt.
        to: Its backends, as a bit mask.
        rewinds: Where the metric went back.
    """
    gone = np.zeros(len(ordinal), np.bool_)
    for rewind in rewinds:
        end = np.searchsorted(ordinal, rewind.ordinal)
        gone[:end] |= step[:end] >= rewind.step
    left = np.flatnonzero(~gone)
    order = left[np.argsort(step[left], kind="stable")]
    before, after, steps = order[:-1], order[1:], step[order]
    again = steps[1:] == steps[:-1]
    # If each row of a step replaces the one before it, the last one counts.
    gone[before[again]] = True
    odd = again & (attempt[before] == attempt[after]) & (to[before] & to[after] == 0)
    for odd_step in np.unique(step[before[odd]]).tolist():
        rows = order[np.searchsorted(steps, odd_step) : np.searchsorted(steps, odd_step, "right")]
        gone[rows] = False
        gone[_replaced(rows, attempt, to)] = True
    return gone


def _replaced(rows: Ints, attempt: Ints, to: Ints) -> list[int]:
    """Return the rows of one step that do not count, given in the order of logging."""
    counts, replaced = int(rows[0]), []
    for row in rows[1:].tolist():
        if attempt[row] == attempt[counts] and not to[row] & to[counts]:
            replaced.append(row)
        else:
            replaced.append(counts)
            counts = row
    return replaced
