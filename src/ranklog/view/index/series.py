"""Rows of one metric: all of them, those that count, or few of them that show everything.

Rows come by step, and those of one step in the order of logging. Where no row was replaced and a group holds many rows,
sampling reads the pyramid and the chosen rows only.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ranklog.view.index.columns import (
    ANSWERED,
    ATTEMPT,
    CONTRIBUTED,
    ORDINAL,
    PYRAMID_ROWS,
    STEP,
    TIME,
    TO,
    WORLD_SIZE,
    Floats,
    Ints,
)
from ranklog.view.index.counting import Mask, superseded_rows
from ranklog.view.index.downsample import Buckets, Infinite, bucket_count, bucket_starts, chosen_rows
from ranklog.view.index.extremes import Extremes, extremes_of, merge_extremes
from ranklog.view.index.groups import Group
from ranklog.view.index.tables import Tables

PYRAMID_FROM_ROWS = 1 << 16
_COLUMNS = (STEP, TIME, ATTEMPT, ANSWERED, WORLD_SIZE, CONTRIBUTED)


class Rows(NamedTuple):
    """Rows of one metric; every array has one element per row.

    Attributes:
        step: The user's step.
        time_ns: Time of the call.
        value: The value.
        attempt: Attempt that logged it.
        source: Number of the group that it belongs to, which has the reduction.
        answered: Ranks that took part in the round; 0 for values of one rank.
        world_size: Number of ranks; 0 for values of one rank.
        contributed: Ranks that had a value; 0 for values of one rank.
        superseded: Whether a later record replaced the row.
    """

    step: Ints
    time_ns: Ints
    value: Floats
    attempt: Ints
    source: Ints
    answered: Ints
    world_size: Ints
    contributed: Ints
    superseded: Mask

    def take(self, rows: Ints | Mask | slice) -> Rows:
        """Return these rows, in this order."""
        return Rows._make(column[rows] for column in self)


def no_rows() -> Rows:
    """Return rows of length 0."""
    integers, mask = np.empty(0, np.int64), np.empty(0, np.bool_)
    return Rows(integers, integers, np.empty(0), integers, integers, integers, integers, integers, mask)


def rows_of(tables: Tables, name: str, *, superseded: bool = False) -> Rows:
    """Return the rows of a metric that count, by step.

    Args:
        tables: Tables of the run.
        name: Name of a metric that the run has.
        superseded: Whether to return also rows that were replaced.
    """
    groups = [tables.groups[number] for number in tables.sources[name]]
    parts = [_rows(tables, group, name) for group in groups]
    rows = Rows._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    if tables.all_rows_count(name):
        return rows
    ordinal = np.concatenate([group.shared(ORDINAL, tables.reader) for group in groups])
    to = np.concatenate([group.shared(TO, tables.reader) for group in groups])
    order = np.argsort(ordinal, kind="stable")
    rows = rows.take(order)
    gone = superseded_rows(
        ordinal=ordinal[order],
        step=rows.step,
        attempt=rows.attempt,
        to=to[order],
        rewinds=tables.rewinds.get(name, ()),
    )
    rows = rows._replace(superseded=gone)
    if not superseded:
        rows = rows.take(~gone)
    return rows.take(np.argsort(rows.step, kind="stable"))


def _rows(tables: Tables, group: Group, name: str) -> Rows:
    step, time_ns, attempt, answered, world_size, contributed = (
        group.shared(column, tables.reader) for column in _COLUMNS
    )
    value, source = group.values(name, tables.reader), np.full(group.rows, group.number, np.int64)
    gone = np.zeros(group.rows, np.bool_)
    return Rows(step, time_ns, value, attempt, source, answered, world_size, contributed, gone)


def sample_pyramid(
    tables: Tables, name: str, points: int, start: float | None, end: float | None
) -> tuple[Rows, Buckets] | None:
    """Return few rows of a metric between two steps: the first, the last, and the extremes of each bucket.

    Buckets have nearly equal width in steps; each begins at a multiple of `PYRAMID_ROWS`.

    Returns:
        None if the pyramid does not help: rows were replaced, or there are few of them.
    """
    group = tables.groups[tables.sources[name][0]]
    if not tables.all_rows_count(name) or group.rows < PYRAMID_FROM_ROWS:
        return None
    steps = group.shared(STEP, tables.reader, every=PYRAMID_ROWS)
    first = 0 if start is None else _first_row(group, tables, steps, start, "left")
    last = group.rows if end is None else _first_row(group, tables, steps, end, "right")
    if last - first < PYRAMID_FROM_ROWS:
        return None
    entries = slice(first // PYRAMID_ROWS, -(-last // PYRAMID_ROWS))
    parts = Extremes._make(column[entries] for column in group.extremes(name, tables.reader))
    begins = np.arange(entries.start, entries.stop) * PYRAMID_ROWS
    _cut(parts, 0, first, int(begins[1]), group, tables, name)
    _cut(parts, -1, int(begins[-1]), last, group, tables, name)
    begins[0] = first
    x = steps[entries]
    x[0] = group.gather(STEP, begins[:1], tables.reader)[0]
    infinite = Infinite(*(_first_of(value, parts, begins, last, group, tables, name) for value in (np.inf, -np.inf)))
    wide = bucket_starts(x, bucket_count(points, infinite))
    found = merge_extremes(parts, wide)
    chosen = chosen_rows(found, (first, last - 1), infinite, points)
    return _known_rows(tables, group, name, chosen, found), Buckets(x[wide], found)


def _known_rows(tables: Tables, group: Group, name: str, rows: Ints, found: Extremes) -> Rows:
    """Return rows without reading the values that the extremes have."""
    places, at = np.unique(np.concatenate((found.low_at, found.high_at)), return_index=True)
    known = np.concatenate((found.low, found.high))[at]
    place = np.minimum(np.searchsorted(places, rows), len(places) - 1)
    value = known[place]
    # A bucket without a finite value names its first row.
    unknown = (places[place] != rows) | np.isnan(value)
    value[unknown] = group.gather_values(name, rows[unknown], tables.reader)
    return rows_at(tables, group, name, rows, value)


def _first_row(group: Group, tables: Tables, steps: Ints, step: float, side: Literal["left", "right"]) -> int:
    """Return the first row at (left) or behind (right) a step, from the steps of each `PYRAMID_ROWS`th row."""
    entry = int(np.searchsorted(steps, step, side))
    if entry == 0:
        return 0
    near = np.arange((entry - 1) * PYRAMID_ROWS, min(entry * PYRAMID_ROWS, group.rows))
    return int(near[0] + np.searchsorted(group.gather(STEP, near, tables.reader), step, side))


def _cut(parts: Extremes, entry: int, first: int, last: int, group: Group, tables: Tables, name: str) -> None:
    """Put the extremes of some rows in the place of an entry, of which only these are in the range."""
    found = extremes_of(group.values(name, tables.reader, first, last), np.array([0]))
    found = found._replace(low_at=found.low_at + first, high_at=found.high_at + first)
    for column, part in zip(parts, found, strict=True):
        column[entry] = part[0]


def _first_of(value: float, parts: Extremes, begins: Ints, last: int, group: Group, tables: Tables, name: str) -> Ints:
    """Return the first row with an infinite value, as an array; empty if there is none."""
    holding = np.flatnonzero(parts.posinf if value > 0 else parts.neginf)
    if not len(holding):
        return holding
    first = int(begins[holding[0]])
    values = group.values(name, tables.reader, first, min(first + PYRAMID_ROWS, last))
    return first + np.flatnonzero(values == value)[:1]


def rows_at(tables: Tables, group: Group, name: str, rows: Ints, value: Floats | None = None) -> Rows:
    """Return some rows of a group, given in increasing order, with the values of one of its metrics.

    Args:
        tables: Tables of the run.
        group: The group.
        name: Name of the metric.
        rows: The rows.
        value: Their values, if they are known.
    """
    step, time_ns, attempt, answered, world_size, contributed = (
        group.gather(column, rows, tables.reader) for column in _COLUMNS
    )
    value = group.gather_values(name, rows, tables.reader) if value is None else value
    source = np.full(len(rows), group.number, np.int64)
    gone = np.zeros(len(rows), np.bool_)
    return Rows(step, time_ns, value, attempt, source, answered, world_size, contributed, gone)
