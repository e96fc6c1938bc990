"""One row per metric: how many points, the last, lowest and highest value, and what is known about it."""

from __future__ import annotations

import fnmatch
from typing import Literal

import msgspec
import numpy as np

from ranklog.model.record import Coverage, MetricInfo
from ranklog.view.index.columns import ANSWERED, CONTRIBUTED, WORLD_SIZE, Ints
from ranklog.view.index.extremes import Extremes
from ranklog.view.index.series import rows_at, rows_of
from ranklog.view.index.tables import Tables


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of one metric.

    Attributes:
        name: Name of the metric.
        points: Number of steps that have a value.
        last: Value at the highest step.
        last_step: That step.
        min: Lowest value that is a number; NaN if there is none.
        max: Highest value that is a number; NaN if there is none.
        op: Reduction of the value at the highest step; None for a value of one rank.
        goal: Whether smaller or larger values are better; None if not given.
        context: Part of the work that it belongs to; None if not given.
        coverage: Lowest coverage of all its points; None for values of one rank.
        superseded: Number of points that a later record replaced.
    """

    name: str
    points: int
    last: float
    last_step: int
    min: float
    max: float
    op: str | None
    goal: Literal["min", "max"] | None
    context: str | None
    coverage: Coverage | None
    superseded: int


def summarise_metrics(tables: Tables, pattern: str = "*") -> list[MetricSummary]:
    """Return one row per metric whose name matches a pattern with ``*`` and ``?``, by name."""
    informed = {each.record.name: each.record for each in tables.others if isinstance(each.record, MetricInfo)}
    names = sorted(name for name in tables.sources if fnmatch.fnmatchcase(name, pattern))
    return [_summarise(tables, name, informed.get(name)) for name in names]


def _summarise(tables: Tables, name: str, info: MetricInfo | None) -> MetricSummary:
    if tables.all_rows_count(name):
        group = tables.groups[tables.sources[name][0]]
        points, superseded, last = group.rows, 0, rows_at(tables, group, name, np.array([group.rows - 1]))
        covered = [group.shared(column, tables.reader) for column in (ANSWERED, WORLD_SIZE, CONTRIBUTED)]
        low, high = _bounds_of(group.extremes(name, tables.reader))
    else:
        rows = rows_of(tables, name, superseded=True)
        last = rows.take(~rows.superseded)
        points, superseded = len(last.step), int(rows.superseded.sum())
        covered = [last.answered, last.world_size, last.contributed]
        low, high = float(np.fmin.reduce(last.value)), float(np.fmax.reduce(last.value))
    return MetricSummary(
        name=name,
        points=points,
        last=float(last.value[-1]),
        last_step=int(last.step[-1]),
        min=low,
        max=high,
        op=tables.groups[int(last.source[-1])].op,
        goal=info.goal if info else None,
        context=info.context if info else None,
        coverage=_lowest_coverage(*covered),
        superseded=superseded,
    )


def _bounds_of(found: Extremes) -> tuple[float, float]:
    """Return the lowest and highest value, infinities among them; NaN if there is none."""
    infinite = [np.inf] * bool(found.posinf.any()) + [-np.inf] * bool(found.neginf.any())
    low = np.fmin.reduce(np.append(found.low, infinite))
    return float(low), float(np.fmax.reduce(np.append(found.high, infinite)))


def _lowest_coverage(answered: Ints, world_size: Ints, contributed: Ints) -> Coverage | None:
    """Return the lowest coverage of the reduced values; None if there are none."""
    reduced = world_size > 0
    if not reduced.any():
        return None
    answered, world_size, contributed = answered[reduced], world_size[reduced], contributed[reduced]
    least = answered / world_size
    lowest = np.flatnonzero(least == least.min())
    place = lowest[np.argmin(contributed[lowest] / world_size[lowest])]
    return Coverage(int(answered[place]), int(world_size[place]), int(contributed[place]))
