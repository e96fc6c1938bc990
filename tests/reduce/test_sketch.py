"""Quantiles against sorted samples, and bins that merge and travel without a loss."""

import math
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.reduce import sketch
from ranklog.reduce.sketch import Bins, Layout, bins_of, decode_bins, merge_bins, quantiles, spans

DECADES_KEPT = 35

anything = st.floats(width=64)  # NaN, infinities, zeros and subnormals included
columns = st.lists(st.lists(anything, max_size=8), min_size=1, max_size=5)
parts = st.one_of(st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.floats(0, 1))


@st.composite
def within_reach(draw: st.DrawFn) -> list[float]:
    """Samples of both signs from 1e-300 to 1e300 whose magnitudes are at most 35 powers of ten apart."""
    lowest = draw(st.floats(-300, 300 - DECADES_KEPT))
    magnitudes = st.floats(lowest, lowest + DECADES_KEPT).map(lambda exponent: float(10.0**exponent))
    signed = st.tuples(magnitudes, st.sampled_from([1.0, -1.0])).map(math.prod)
    few = st.lists(st.one_of(signed, st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf])), max_size=30)
    return [value for value in draw(few) for _ in range(draw(st.integers(1, 3)))]


def of(*samples: list[float]) -> Bins:
    """Bins of one column for each list."""
    numbers = [column for column, mine in enumerate(samples) for _ in mine]
    return bins_of(np.array(numbers, dtype=np.int64), np.array([value for mine in samples for value in mine]))


def quantile(samples: list[float], part: float) -> float:
    known = [value for value in samples if math.isfinite(value)]
    low, high = np.array([min(known, default=math.inf)]), np.array([max(known, default=-math.inf)])
    return float(quantiles(of(samples), part, low, high)[0])


def same(one: Bins, other: Bins) -> bool:
    return one.codes.tolist() == other.codes.tolist() and one.counts.tolist() == other.counts.tolist()


@settings(deadline=None)
@given(within_reach(), parts)
def test_each_sample_that_a_quantile_lies_between_is_at_most_1_percent_off(samples: list[float], part: float) -> None:
    got = quantile(samples, part)
    known = sorted(value for value in samples if math.isfinite(value))
    if not known:
        assert math.isnan(got)
        return
    place = part * (len(known) - 1)
    below = math.floor(place)
    lower, upper = known[below], known[min(below + 1, len(known) - 1)]
    right = lower * (1 - (place - below)) + upper * (place - below)
    off = 0.01 * (abs(lower) * (1 - (place - below)) + abs(upper) * (place - below))
    assert abs(got - right) <= off * (1 + 1e-9)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 5))
def test_the_quantiles_of_one_value_are_that_value(value: float, times: int) -> None:
    assert quantile([value] * times, 0.5) == value
    assert quantile([value] * times, 0.99) == value


@settings(deadline=None)
@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_the_median_of_two_values_is_their_mean(a: float, b: float) -> None:
    assert abs(quantile([a, b], 0.5) - (a / 2 + b / 2)) <= math.ulp(0.0)


def test_many_samples_give_the_quantiles_of_numpy_within_1_percent() -> None:
    random = np.random.default_rng(0)
    for samples in (random.lognormal(0, 3, 10_000), -random.exponential(1, 10_000), random.normal(100, 10, 10_000)):
        for part in (0.01, 0.5, 0.99):
            assert quantile(samples.tolist(), part) == pytest.approx(np.quantile(samples, part), rel=0.0101)


def test_no_quantile_lies_outside_the_extremes() -> None:
    assert quantile([1.0, 1.0049, 1.005], 0.5) <= 1.005
    assert quantile([-1.7e308] * 3 + [1.7e308] * 3, 0.5) == 0.0


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_what_is_far_below_the_largest_counts_as_small(samples: list[float]) -> None:
    largest = max(map(abs, samples))
    for index, exact in enumerate(sorted(samples)):
        part = index / max(1, len(samples) - 1)
        if part * (len(samples) - 1) == index:
            got = quantile(samples, part)
            assert abs(got - exact) <= max(0.01 * abs(exact), 1e-35 * largest, math.ulp(0.0)) * (1 + 1e-9)
            assert got == 0 or exact == 0 or (got > 0) == (exact > 0)


@settings(deadline=None)
@given(columns, columns, columns)
def test_merging_counts_the_samples_of_all_in_any_order(
    a: list[list[float]], b: list[list[float]], c: list[list[float]]
) -> None:
    width = max(map(len, (a, b, c)))
    a, b, c = ([*samples, *[[]] * (width - len(samples))] for samples in (a, b, c))
    together = of(*(x + y + z for x, y, z in zip(a, b, c, strict=True)))
    x, y, z = of(*a), of(*b), of(*c)
    assert same(merge_bins([merge_bins([x, y]), z]), together)
    assert same(merge_bins([x, merge_bins([z, y])]), together)
    assert same(merge_bins([z, x, y]), together)


@settings(deadline=None)
@given(columns, st.data())
def test_columns_are_taken_parted_shifted_and_spread(samples: list[list[float]], data: st.DataObject) -> None:
    bins = of(*samples)
    chosen = data.draw(st.lists(st.integers(0, len(samples) - 1), max_size=6))
    assert same(bins.take(chosen), of(*(samples[i] for i in chosen)))
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(samples)), st.integers(0, len(samples)))))
    assert same(bins.part(start, end), of(*samples[start:end]))
    assert same(bins.shifted(2), of([], [], *samples))
    spread = [mine for samples_of_one in samples for mine in ([], samples_of_one)]
    assert same(bins.spread(np.arange(len(samples)) * 2 + 1), of(*spread))


@settings(deadline=None)
@given(columns)
def test_bins_come_back_from_their_bytes(samples: list[list[float]]) -> None:
    assert same(decode_bins(of(*samples).encode(), len(samples)), of(*samples))


@settings(deadline=None)
@given(st.binary(max_size=64), st.integers(0, 3))
def test_any_bytes_are_bins_or_refused(data: bytes, width: int) -> None:
    try:
        bins = decode_bins(data, width)
    except ValueError:
        return
    assert bins.codes.tolist() == sorted(set(bins.codes.tolist()))
    assert set(bins.columns.tolist()) <= set(range(width))


def test_bytes_that_are_no_bins_are_refused() -> None:
    bins = of([1.0, 2.0, -3.0])
    bad_counts = [(bins.encode()[:-8] + struct.pack("<d", count), 1) for count in (math.nan, -1.0, 0.0, math.inf)]
    swapped = Bins(bins.codes[::-1], bins.counts)
    no_number = Bins(np.array([0], dtype=np.int64), np.ones(1))
    for data, width in (
        (bins.encode()[:-1], 1), (bins.encode(), 0), (swapped.encode(), 1), (no_number.encode(), 1), *bad_counts,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="bin"):
            decode_bins(data, width)


@settings(deadline=None)
@given(st.lists(columns, min_size=1, max_size=4), st.sampled_from([1, 5000, 2**20]))
def test_dense_counts_of_all_ranks_add_up_to_their_merged_bins(ranks: list[list[list[float]]], limit: int) -> None:
    width = max(map(len, ranks))
    all_bins = [of(*samples) for samples in ranks]
    layout = Layout(np.minimum.reduce([spans(bins, width) for bins in all_bins]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "VECTOR_LIMIT", limit)
        slices = list(layout.slices())
    assert [0, *(end for _, end in slices)] == [*(start for start, _ in slices), width]
    total = []
    for start, end in slices:
        dense = sum(layout.dense(bins, start, end) for bins in all_bins)
        assert isinstance(dense, np.ndarray)
        assert end == start + 1 or len(dense) <= limit
        assert len(dense) <= (2 * sketch.KEPT_MAGNITUDES + 1) * (end - start)
        total.append(layout.bins(dense, start, end))
    assert same(merge_bins(total), merge_bins(all_bins))


def test_bins_stay_few_whatever_the_samples_are() -> None:
    every_magnitude = np.exp(np.linspace(-744, 709, 200_000))
    bins = of(every_magnitude.tolist() + (-every_magnitude).tolist())
    assert len(bins.codes) <= 2 * sketch.KEPT_MAGNITUDES
    assert bins.counts.sum() == 400_000


def test_no_numpy_warning_comes_out_where_they_are_errors() -> None:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        samples = [math.ulp(0.0), 2.3e-308, -1.7976e308, 1.7976e308, 0.0, math.nan, math.inf]
        for part in (0.0, 0.25, 0.5, 0.75, 0.99, 1.0):
            assert math.isfinite(quantile(samples, part))
