"""Frames of metrics: which names, which part, how many points."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import Attempt
from ranklog.view.index.columns import Floats, Ints
from ranklog.view.index.downsample import LEAST_POINTS, Buckets, sample
from ranklog.view.index.series import Rows, no_rows, rows_at, rows_of, sample_pyramid
from ranklog.view.index.smoothing import smooth
from ranklog.view.index.tables import Tables
from ranklog.view.metrics.axis import AXES, last_known, relative_s, running_s
from ranklog.view.metrics.frame import NONE, Bucket, Frame

_OF_RANK = re.compile(r"(.+)/rank_(\d{3,})$")


class Selection(NamedTuple):
    """What `Run.metrics` was asked for; its docstring describes the fields."""

    start: float | None = None
    end: float | None = None
    x: str = "step"
    points: int | None = None
    smooth: float = 0.0
    superseded: bool = False

    def check(self, names: Iterable[str]) -> None:
        """Raise if a value is not allowed.

        Raises:
            InvalidArgumentError: it is not.
            KeyError: the axis is not a metric of the run.
        """
        if self.points is not None and self.points < LEAST_POINTS:
            raise InvalidArgumentError(f"points={self.points} is too few: at least {LEAST_POINTS}")
        if not 0 <= self.smooth < 1:
            raise InvalidArgumentError(f"smooth={self.smooth} is not from 0 to below 1")
        if self.x not in AXES and self.x not in names:
            raise KeyError(unknown(self.x, [*AXES, *names]))


def unknown(name: str, names: Sequence[str]) -> str:
    """Say that there is no such metric, and which names are near."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return f"there is no metric {name!r}; the nearest names are {', '.join(near)}" if near else "the run has no metrics"


def expand(names: Sequence[str], known: Sequence[str], ranks: Sequence[int] | str | None) -> list[str]:
    """Return the names of series to read.

    Args:
        names: Names as given by the user; none for all.
        known: Names of the run.
        ranks: Ranks whose series ``name/rank_003`` are wanted, ``"all"``, or None for the names themselves.

    Raises:
        KeyError: a name does not exist.
    """
    if ranks is None:
        for name in names:
            if name not in known:
                raise KeyError(unknown(name, known))
        return list(dict.fromkeys(names)) if names else list(known)
    found = [name for name in known if (rank := rank_of(name)) is not None and (ranks == "all" or rank in ranks)]
    bases = {name: match.group(1) for name in found if (match := _OF_RANK.fullmatch(name))}
    for name in names:
        if name not in bases.values():
            raise KeyError(f"there is no metric {name!r} with a series per rank; it needs reduce='per_rank'")
    return [name for name in found if not names or bases[name] in names]


def rank_of(name: str) -> int | None:
    """Return the rank that a series belongs to by its name; None for others.

    Example:
        >>> rank_of("loss/rank_003"), rank_of("loss")
        (3, None)
    """
    match = _OF_RANK.fullmatch(name)
    return int(match.group(2)) if match else None


def select(tables: Tables, names: Sequence[str], wanted: Selection, attempts: Sequence[Attempt]) -> Frame:
    """Return a frame of metrics."""
    parts, buckets = [], []
    for name in names:
        rows, x, found = _select(tables, name, wanted, attempts)
        parts.append(_columns(tables, name, rows, None if wanted.x in {"step", "time"} else x))
        buckets += _buckets(name, found)
    if not parts:
        parts.append(_columns(tables, "", no_rows(), None))
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
