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
        before = np.searchsorted(ordinal, rewind.ordinal)
        gone[:before] |= step[:before] >= rewind.step
    left = np.flatnonzero(~gone)
    order = left[np.argsort(step[left], kind="stable")]
    same = step[order][1:] == step[order][:-1]
    if not same.any():
        return gone
    first = np.flatnonzero(np.concatenate(([True], ~same)))
    for start, end in zip(first, [*first[1:], len(order)], strict=True):
        if end - start > 1:
            gone[_replaced(order[start:end], attempt, to)] = True
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
