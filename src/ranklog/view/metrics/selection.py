"""Frames of metrics: rows of each series, on the axis, all of them or few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ranklog.model.record import Attempt
from ranklog.view.index.columns import Floats, Ints
from ranklog.view.index.downsample import Buckets, sample
from ranklog.view.index.series import Rows, no_rows, rows_at, rows_of, sample_pyramid
from ranklog.view.index.smoothing import smooth
from ranklog.view.index.tables import Tables
from ranklog.view.metrics.arguments import Selection, rank_of
from ranklog.view.metrics.axis import last_known, relative_s, running_s
from ranklog.view.metrics.frame import NONE, Bucket, Frame


def select(tables: Tables, names: Sequence[str], wanted: Selection, attempts: Sequence[Attempt]) -> Frame:
    """Return a frame of metrics."""
    parts, buckets = [], []
    for name in names:
        rows, x, found = _select(tables, name, wanted, attempts)
        parts.append(_columns(tables, name, rows, None if wanted.x in {"step", "time"} else x))
        buckets += _buckets(name, found)
    if not parts:
        parts.append(_columns(tables, "", no_rows(), None if wanted.x in {"step", "time"} else np.empty(0)))
    columns = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
    return Frame(columns, tuple(buckets))


def select_new(tables: Tables, seen: Mapping[int, int]) -> Frame:
    """Return the rows of each group behind those that were seen, whether they count or not."""
    parts = [_columns(tables, "", no_rows(), None)]
    for group in tables.groups:
        rows = np.arange(seen.get(group.number, 0), group.rows)
        if len(rows):
            parts += [_columns(tables, name, rows_at(tables, group, name, rows), None) for name in group.names]
    return Frame({column: np.concatenate([part[column] for part in parts]) for column in parts[0]})


def _select(
    tables: Tables, name: str, wanted: Selection, attempts: Sequence[Attempt]
) -> tuple[Rows, Ints | Floats, Buckets | None]:
    if wanted.points is not None and wanted.x == "step" and not wanted.smooth:
        quick = sample_pyramid(tables, name, wanted.points, wanted.start, wanted.end)
        if quick is not None:
            return quick[0], quick[0].step, quick[1]
    rows = rows_of(tables, name, superseded=wanted.superseded)
    if wanted.smooth:
        counts = ~rows.superseded
        value = rows.value.copy()
        value[counts] = smooth(rows.value[counts], wanted.smooth)
        rows = rows._replace(value=value)
    x = _positions(tables, rows, wanted.x, attempts)
    order = np.argsort(x, kind="stable")
    order = order[_within(x[order], wanted)]
    rows, x = rows.take(order), x[order]
    if wanted.points is None or not len(x):
        return rows, x, None
    chosen, found = sample(rows.value, x, wanted.points)
    return rows.take(chosen), x[chosen], found


def _positions(tables: Tables, rows: Rows, x: str, attempts: Sequence[Attempt]) -> Ints | Floats:
    if x == "step":
        return rows.step
    if x == "time":
        return relative_s(rows.time_ns, 0)
    if x == "relative":
        return relative_s(rows.time_ns, attempts[0].time_ns)
    if x == "running":
        return running_s(rows.time_ns, attempts, tables.last_ns)
    other = rows_of(tables, x)
    return last_known(rows.step, other.step, other.value)


def _within(x: Ints | Floats, wanted: Selection) -> Ints:
    """Return the rows of the range; those without a finite position on the axis are not on it."""
    inside = np.isfinite(x)
    if wanted.start is not None:
        inside &= x >= wanted.start
    if wanted.end is not None:
        inside &= x <= wanted.end
    return np.flatnonzero(inside)


def _columns(tables: Tables, name: str, rows: Rows, x: Ints | Floats | None) -> dict[str, np.ndarray]:
    count = len(rows.step)
    ops = np.array([group.op for group in tables.groups] or [None], object)
    rank = rank_of(name)
    reduced = rows.world_size > 0
    columns = {
        "name": np.full(count, name, object),
        "step": rows.step,
        "time": rows.time_ns.astype("datetime64[ns]"),
        "value": rows.value,
        "rank": np.full(count, NONE if rank is None else rank, np.int64),
        "attempt": rows.attempt,
        "op": ops[rows.source],
        "answered": np.where(reduced, rows.answered, NONE),
        "world_size": np.where(reduced, rows.world_size, NONE),
        "superseded": rows.superseded,
    }
    return columns if x is None else {**columns, "x": x.astype(np.float64)}


def _buckets(name: str, found: Buckets | None) -> list[Bucket]:
    if found is None:
        return []
    nan, posinf, neginf = found.extremes.nan, found.extremes.posinf, found.extremes.neginf
    return [
        Bucket(name, float(found.x[each]), int(nan[each]), int(posinf[each]), int(neginf[each]))
        for each in np.flatnonzero(nan + posinf + neginf).tolist()
    ]
