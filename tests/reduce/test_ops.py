"""The maths against exact fractions."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.model.errors import InvalidArgumentError
from ranklog.reduce.ops import States, check_weight, concatenate, empty_states, merge, results, states_of

finite = st.floats(min_value=-1e6, max_value=1e6).map(lambda x: x if abs(x) > 1e-6 else 0.0)
samples = st.lists(st.tuples(finite, st.sampled_from([0.0, 0.5, 1.0, 3.0, 32.0])), min_size=1, max_size=12)
jobs = st.lists(st.one_of(samples, st.just([])), min_size=1, max_size=5).filter(any)


def state(job: list[list[tuple[float, float]]]) -> States:
    """Merge samples of one name, rank by rank."""
    total = empty_states(1)
    for rank, given_there in enumerate(job):
        for value, weight in given_there:
            total = merge(total, states_of(np.array([value]), np.array([weight]), rank, np.array([0])))
    return total


def result(job: list[list[tuple[float, float]]], op: str) -> float:
    return float(results(state(job), op)[""][0])


def close(got: float, exact: Fraction, scale: Fraction) -> bool:
    """Whether the error is below 1e-12 of the numbers that went in."""
    return abs(Fraction(got) - exact) <= Fraction(1, 10**12) * max(scale, abs(exact))


@settings(deadline=None)
@given(jobs)
def test_mean_and_std_are_those_of_exact_fractions(job: list[list[tuple[float, float]]]) -> None:
    every = [(Fraction(v), Fraction(w)) for there in job for v, w in there]
    weight = sum(w for _, w in every)
    mean, std = result(job, "mean"), result(job, "std")
    if not weight:
        assert math.isnan(mean) and math.isnan(std)
        return
    exact = sum(v * w for v, w in every) / weight
    scale = max(abs(v) for v, _ in every)
    assert close(mean, exact, scale)
    variance = sum(w * (v - exact) ** 2 for v, w in every) / weight
    assert close(std**2, variance, scale * scale)


@settings(deadline=None)
@given(jobs)
def test_sum_and_extremes_do_not_depend_on_how_samples_are_spread_over_ranks(
    job: list[list[tuple[float, float]]],
) -> None:
    ones = [[(v, 1.0) for v, _ in there] for there in job]
    values = [v for there in job for v, _ in there]
    assert close(
        result(ones, "sum"), sum(map(Fraction, values), Fraction()), sum(map(abs, map(Fraction, values)), Fraction())
    )
    assert result(ones, "min") == min(values)
    assert result(ones, "max") == max(values)
    together = [[sample for there in ones for sample in there]]
    assert result(together, "mean") == pytest.approx(result(ones, "mean"), rel=1e-12, abs=1e-6)


@settings(deadline=None)
@given(samples, samples, samples)
def test_merging_is_associative(
    a: list[tuple[float, float]], b: list[tuple[float, float]], c: list[tuple[float, float]]
) -> None:
    x, y, z = state([a]), state([[], b]), state([[], [], c])
    left, right = merge(merge(x, y), z), merge(x, merge(y, z))
    np.testing.assert_allclose(left.table, right.table, rtol=1e-9, atol=1e-3)


def test_one_thousand_equal_offsets_keep_the_spread() -> None:
    job = [[(1e6 + (i % 2), 1.0)] for i in range(1000)]
    assert result(job, "std") == pytest.approx(0.5, rel=1e-10)


def test_nonfinite_values_are_counted_apart() -> None:
    total = state([[(1.0, 1.0), (math.nan, 1.0)], [(math.inf, 1.0)], [(3.0, 1.0)]])
    stats = {key: float(column[0]) for key, column in results(total, "stats").items()}
    assert stats == {
        "/mean": 2.0, "/std": 1.0, "/min": 1.0, "/max": 3.0, "/min_rank": 0.0, "/max_rank": 2.0, "/count": 2.0,
    }  # fmt: skip
    assert total.table[8, 0] == 2  # non-finite samples
    assert total.table[9, 0] == 0  # first rank with one


@pytest.mark.parametrize("op", ["mean", "sum", "min", "max", "std"])
def test_only_nonfinite_values_give_nan(op: str) -> None:
    assert math.isnan(result([[(math.nan, 1.0)], [(-math.inf, 1.0)]], op))


def test_a_sample_of_weight_zero_counts_but_does_not_pull_the_mean() -> None:
    total = state([[(1.0, 1.0)], [(100.0, 0.0)]])
    stats = results(total, "stats")
    assert (stats["/mean"][0], stats["/count"][0], stats["/max"][0]) == (1.0, 2.0, 100.0)


@settings(deadline=None)
@given(jobs)
def test_quantiles_are_those_of_all_samples_whatever_weight_and_rank(
    job: list[list[tuple[float, float]]],
) -> None:
    values = sorted(v for there in job for v, _ in there)
    assert result([[(v, 1.0)] for v in reversed(values)], "median") == result(job, "median")
    middle = len(values) // 2
    off = 0.0101 * max(abs(values[middle]), abs(values[-middle - 1]))
    assert result(job, "median") == pytest.approx((values[middle] + values[-middle - 1]) / 2, abs=off)
    assert values[-2:][0] - 0.0101 * abs(values[-2:][0]) <= result(job, "p99") <= values[-1]


def test_quantiles_leave_out_what_is_not_finite() -> None:
    assert result([[(math.nan, 1.0), (2.0, 1.0)], [(math.inf, 1.0)]], "median") == 2.0
    assert math.isnan(result([[(math.nan, 1.0)], [(-math.inf, 1.0)]], "p99"))


def test_quantiles_stand_beside_names_that_have_none() -> None:
    plain = states_of(np.array([1.0, 2.0]), None, 0)
    binned = states_of(np.array([3.0, 4.0, 5.0]), None, 0, np.array([0, 2]))
    both = concatenate([plain, binned, plain])
    expected = [math.nan, math.nan, 3.0, math.nan, 5.0, math.nan, math.nan]
    np.testing.assert_array_equal(results(both, "median")[""], expected)
    np.testing.assert_array_equal(results(both.part(3, 6), "median")[""], expected[3:6])
    np.testing.assert_array_equal(results(both.take([4, 0, 2]), "p99")[""], [5.0, math.nan, 3.0])
    with pytest.raises(ValueError, match="median"):
        results(plain, "median")


def test_the_lowest_rank_is_named_for_equal_extremes() -> None:
    stats = results(state([[], [(2.0, 1.0)], [(2.0, 1.0)]]), "stats")
    assert (stats["/min_rank"][0], stats["/max_rank"][0]) == (1.0, 1.0)


def test_integers_above_2_to_53_are_summed_as_their_float64() -> None:
    job = [[(float(2**53 + 2), 1.0)], [(float(2**53), 1.0)]]
    assert result(job, "sum") == float(2**54 + 2)


def test_what_overflows_is_infinite_and_no_warning() -> None:
    huge = [(1.7e308, 1.0)] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result([huge, [(-1.7e308, 1.0)]], "std") == math.inf
        assert result([[(1.7e308, 8.0)]], "mean") == math.inf
        for op in ("sum", "mean"):
            assert result([huge], op) == math.inf
        assert results(state([huge, huge]), "stats")["/max"][0] == 1.7e308


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, "heavy"])
def test_a_weight_that_cannot_weigh_is_refused(weight: float) -> None:
    with pytest.raises(InvalidArgumentError, match="weight"):
        check_weight(weight)
