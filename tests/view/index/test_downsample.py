"""Few rows show everything of many: ends, extremes, and the counts of NaN and infinities."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.view.index.downsample import Buckets, sample
from ranklog.view.index.extremes import extremes_of, merge_extremes
from ranklog.view.index.smoothing import smooth

ODD = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 0.0, -0.0])
series = st.lists(ODD | st.floats(-100, 100), min_size=1, max_size=300).map(np.array)


def assert_shows(values: np.ndarray, x: np.ndarray, rows: np.ndarray, buckets: Buckets, points: int) -> None:
    """Check everything that sampled rows promise."""
    assert len(rows) <= 2 * points and (np.diff(rows) > 0).all()
    assert {0, len(values) - 1} <= set(rows.tolist())
    if not np.isnan(values).all():
        assert {np.nanmin(values), np.nanmax(values)} <= set(values[rows].tolist())
    starts = np.searchsorted(x, buckets.x)
    for place, (start, end) in enumerate(zip(starts, [*starts[1:], len(values)], strict=True)):
        part = values[start:end]
        counts = [
            int(count[place]) for count in (buckets.extremes.nan, buckets.extremes.posinf, buckets.extremes.neginf)
        ]
        assert counts == [np.isnan(part).sum(), (part == np.inf).sum(), (part == -np.inf).sum()]
        finite = part[np.isfinite(part)]
        if len(finite) and points > 2:
            assert {finite.min(), finite.max()} <= set(part[np.isin(np.arange(start, end), rows)].tolist())


@given(series, st.integers(2, 40), st.booleans())
def test_ends_extremes_and_counts_survive_at_every_width(values, points, uneven):
    x = np.cumsum(np.arange(len(values)) % 7 + 1) if uneven else np.arange(len(values))
    rows, buckets = sample(values, x, points)
    assert_shows(values, x, rows, buckets, points)


@given(series, st.data())
def test_merged_buckets_are_those_of_all_their_rows(values, data):
    narrow = np.arange(0, len(values), data.draw(st.integers(1, 9)))
    wide = np.arange(0, len(narrow), data.draw(st.integers(1, 9)))
    merged, direct = merge_extremes(extremes_of(values, narrow), wide), extremes_of(values, narrow[wide])
    for column, (got, wanted) in enumerate(zip(merged, direct, strict=True)):
        rows_without_value = np.isnan(direct.low) & (column in {2, 3})
        assert np.array_equal(got[~rows_without_value], wanted[~rows_without_value], equal_nan=True)


@given(series, st.floats(0, 0.999))
def test_smoothing_is_a_mean_corrected_for_its_start(values, weight):
    mean, collected = 0.0, 0.0
    for value, got in zip(values.tolist(), smooth(values, weight).tolist(), strict=True):
        if not math.isfinite(value):
            assert got == value or (math.isnan(got) and math.isnan(value))
            continue
        mean, collected = weight * mean + (1 - weight) * value, weight * collected + (1 - weight)
        assert math.isclose(got, mean / collected, rel_tol=1e-9, abs_tol=1e-12)


@given(st.floats(-1e6, 1e6), st.floats(0, 0.999), st.integers(1, 500))
@settings(max_examples=50)
def test_a_constant_stays_itself(value, weight, length):
    assert np.allclose(smooth(np.full(length, value), weight), value, rtol=1e-9, atol=1e-12)
