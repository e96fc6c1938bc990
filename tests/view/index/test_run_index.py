"""An index of a run says what its journal says, whatever was appended, saved, killed or damaged in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import NAMES, attempts, folder, write
from naive_view import NaiveView
from test_downsample import assert_shows

from ranklog.model.record import Metrics
from ranklog.view.history import Point
from ranklog.view.index import groups, run_index, series, tables
from ranklog.view.index.run_index import RunIndex
from ranklog.view.index.series import rows_of, sample_pyramid


def points(index: RunIndex, name: str) -> tuple[list[tuple], list[tuple]]:
    """Points that count and superseded ones, as plain tuples by step."""
    if name not in index.tables.sources:
        return [], []
    rows = rows_of(index.tables, name, superseded=True)
    ops = [index.tables.groups[source].op for source in rows.source.tolist()]
    covered = zip(rows.answered.tolist(), rows.world_size.tolist(), rows.contributed.tolist(), strict=True)
    columns = (
        rows.step.tolist(),
        map(repr, rows.value.tolist()),
        rows.time_ns.tolist(),
        rows.attempt.tolist(),
        ops,
        covered,
    )
    every = list(zip(*columns, rows.superseded.tolist(), strict=True))
    return [row[:-1] for row in every if not row[-1]], sorted(row[:-1] for row in every if row[-1])


def plain(point: Point) -> tuple:
    covered = point.coverage
    coverage = (covered.answered, covered.world_size, covered.contributed) if covered else (0, 0, 0)
    return point.step, repr(point.value), point.time_ns, point.attempt, point.op, coverage


def expected(run_dir: Path, name: str) -> tuple[list[tuple], list[tuple]]:
    view = NaiveView(run_dir)
    return [*map(plain, view.series(name))], sorted(map(plain, view.superseded(name)))


@given(attempts)
@settings(max_examples=60, deadline=None)
def test_the_rows_that_count_are_those_of_the_journal(journal):
    with folder() as tmp:
        run_dir = tmp / "run"
        for attempt, rows in journal:
            write(run_dir, attempt, rows)
            index = RunIndex(run_dir, tmp / "cache")
            index.refresh()
            index.close()
        fresh, kept = RunIndex(run_dir, tmp / "other"), RunIndex(run_dir, tmp / "cache")
        fresh.refresh()
        assert kept.tables.records == fresh.tables.records  # all of it came from the cache
        for name in NAMES:
            assert points(fresh, name) == points(kept, name) == expected(run_dir, name)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks as small as can be, saved all the time."""
    monkeypatch.setattr(tables, "BLOCK_ROWS", groups.PYRAMID_ROWS)
    monkeypatch.setattr(series, "PYRAMID_FROM_ROWS", groups.PYRAMID_ROWS)
    monkeypatch.setattr(run_index, "SAVE_RECORDS", 50)
    monkeypatch.setattr(run_index, "SAVE_PAUSE_FACTOR", 0.0)


def long_run(run_dir: Path, rows: int) -> np.ndarray:
    """Write a metric with steps that grow unevenly, a spike, and odd values; returns its values."""
    rng = np.random.default_rng(rows)
    value = rng.standard_normal(rows)
    value[rng.integers(0, rows, 5)] = np.nan
    value[rng.integers(0, rows, 2)] = [np.inf, -np.inf]
    value[rows // 3] = 50.0
    steps = np.cumsum(rng.integers(1, 4, rows))
    records = [
        Metrics(int(step), int(step), -1, {"loss": float(each), "lr": 0.1})
        for step, each in zip(steps, value, strict=True)
    ]
    write(run_dir, 0, records)
    return value


@pytest.mark.usefixtures("small_blocks")
@given(rows=st.integers(300, 900), points=st.integers(2, 30), cut=st.tuples(st.floats(0, 0.4), st.floats(0.6, 1)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pyramid_shows_what_all_rows_show(rows, points, cut):
    with folder() as tmp:
        value = long_run(tmp / "run", rows)
        index = RunIndex(tmp / "run", tmp / "cache")
        index.refresh()
        step = rows_of(index.tables, "loss").step
        start, end = step[0] + cut[0] * (step[-1] - step[0]), step[0] + cut[1] * (step[-1] - step[0])
        inside = (step >= start) & (step <= end)
        found = sample_pyramid(index.tables, "loss", points, start, end)
        if found is None:
            assert inside.sum() < groups.PYRAMID_ROWS
            index.close()
            return
        chosen = np.searchsorted(step[inside], found[0].step)
        assert np.array_equal(value[inside][chosen], found[0].value, equal_nan=True)
        assert_shows(value[inside], step[inside], chosen, found[1], points)
        index.close()
