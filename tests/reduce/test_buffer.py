"""Rows open, merge, and close as the steps go by."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.model.errors import InvalidArgumentError
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.ops import results


def add(buffer: Buffer, step: int, op: str = "mean", weight: float = 1.0, to: int = -1, **values: float) -> None:
    buffer.add(values, step=step, op=op, to=to, time_ns=step, weight=weight)


def rows(buffer: Buffer) -> list[Row]:
    return buffer.closed(10_000)


def mean(row: Row) -> dict[str, float]:
    return dict(zip(row.names, results(row.states(), "mean")[""].tolist(), strict=True))


def test_a_row_closes_when_another_step_comes() -> None:
    buffer = Buffer()
    add(buffer, 0, a=1.0)
    assert (buffer.closed_count, buffer.pending) == (0, True)
    add(buffer, 1, a=2.0)
    assert [(row.step, mean(row)) for row in rows(buffer)] == [(0, {"a": 1.0})]
    buffer.close_all()
    assert [row.step for row in rows(buffer)] == [0, 1]
    assert buffer.max_closed_step == 1


def test_single_adds_of_one_step_join_one_row() -> None:
    buffer = Buffer()
    for name in "abc":
        add(buffer, 0, **{name: 1.0})
    add(buffer, 0, op="max", d=1.0)
    add(buffer, 0, to=1, e=1.0)
    buffer.close_all()
    assert [row.names for row in rows(buffer)] == [["a", "b", "c"], ["d"], ["e"]]
    assert len({row.group for row in rows(buffer)}) == 1


def test_several_samples_of_a_step_merge_with_their_weights() -> None:
    buffer = Buffer()
    add(buffer, 0, a=1.0, b=5.0)
    add(buffer, 0, weight=3.0, a=2.0, c=7.0)
    add(buffer, 0, weight=0.0, a=1000.0)
    buffer.close_all()
    assert mean(rows(buffer)[0]) == {"a": 1.75, "b": 5.0, "c": 7.0}


def test_weights_do_not_scale_sums() -> None:
    buffer = Buffer()
    add(buffer, 0, op="sum", weight=3.0, a=2.0)
    add(buffer, 0, op="sum", weight=0.0, a=5.0)
    buffer.close_all()
    assert results(rows(buffer)[0].states(), "sum")[""][0] == 7.0


def test_a_closed_row_is_not_opened_again() -> None:
    buffer = Buffer()
    add(buffer, 0, a=1.0)
    add(buffer, 1, a=2.0)
    add(buffer, 0, a=3.0)
    buffer.close_all()
    assert [(row.step, row.group) for row in rows(buffer)] == [(0, 0), (1, 1), (0, 2)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-100, 100), st.sampled_from([0.0, 1.0, 2.0])), min_size=1))
def test_a_row_holds_the_mean_of_its_samples(given_samples: list[tuple[str, float, float]]) -> None:
    buffer = Buffer()
    for name, value, weight in given_samples:
        add(buffer, 0, weight=weight, **{name: value})
    buffer.close_all()
    for name, got in mean(rows(buffer)[0]).items():
        mine = [(v, w) for n, v, w in given_samples if n == name]
        total = sum(w for _, w in mine)
        assert math.isnan(got) if not total else got == pytest.approx(sum(v * w for v, w in mine) / total, abs=1e-9)


def test_ten_thousand_samples_of_one_step_are_folded() -> None:
    buffer = Buffer()
    values = [random.Random(i).random() for i in range(10_000)]
    for index, value in enumerate(values):
        add(buffer, 0, a=value)
        if index == 5_000:
            add(buffer, 0, late=1.0)
    buffer.close_all()
    (row,) = rows(buffer)
    assert len(row._extra) < 2_000
    assert mean(row) == {"a": pytest.approx(sum(values) / 10_000, rel=1e-12), "late": 1.0}
    assert mean(row.without({"a"})) == {"late": 1.0}
    assert mean(row.without({"late"})) == {"a": pytest.approx(sum(values) / 10_000, rel=1e-12)}


def test_quantiles_of_any_number_of_samples_come_from_few_bins() -> None:
    buffer = Buffer()
    values = [random.Random(i).gauss(0.0, 1.0) for i in range(100_000)]
    for index, value in enumerate(values):
        add(buffer, 0, op="median", a=value)
        if index == 50_000:
            add(buffer, 0, op="median", late=1.0)
    buffer.close_all()
    (row,) = rows(buffer)
    assert len(row._extra) < 2_000
    assert row._folded is not None
    assert row._folded.bins is not None
    assert len(row._folded.bins.codes) < 2_000
    np.testing.assert_allclose(results(row.states(), "median")[""], [np.median(values), 1.0], rtol=0.011, atol=1e-4)
    assert results(row.states(), "p99")[""][0] == pytest.approx(np.quantile(values, 0.99), rel=0.011)
    assert results(row.without({"a"}).states(), "median")[""].tolist() == [1.0]
    assert results(row.without({"late"}).states(), "median")[""][0] == results(row.states(), "median")[""][0]


def test_a_weight_does_not_count_for_quantiles() -> None:
    buffer = Buffer()
    for value, weight in ((1.0, 100.0), (2.0, 0.0), (3.0, 1.0)):
        add(buffer, 0, op="median", weight=weight, a=value)
    buffer.close_all()
    assert results(rows(buffer)[0].states(), "median")[""][0] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("samples", [1, 2])
def test_rows_of_quantiles_stack_beside_others(samples: int) -> None:
    buffer = Buffer()
    for _ in range(samples):
        add(buffer, 0, a=1.0, b=2.0)
        add(buffer, 0, op="median", c=3.0, d=math.nan)
        add(buffer, 0, op="p99", e=5.0)
    buffer.close_all()
    assert results(stack(rows(buffer)), "mean")[""].tolist()[:3] == [1.0, 2.0, 3.0]
    for op in ("median", "p99"):
        np.testing.assert_array_equal(results(stack(rows(buffer)), op)[""][2:], [3.0, math.nan, 5.0])
    plain = stack(rows(buffer)[:1])
    assert plain.bins is None


def test_simple_and_weighted_rows_stack_to_the_same_states() -> None:
    buffer = Buffer(rank=3)
    add(buffer, 0, a=1.0, b=math.nan)
    add(buffer, 1, weight=2.0, a=3.0)
    buffer.close_all()
    simple, weighted = stack(rows(buffer)[:1]), stack(rows(buffer))
    assert (weighted.table[:, :2] == simple.table).all()
    assert weighted.table[1].tolist() == [1.0, 0.0, 2.0]


def test_per_rank_values_stay_out_of_reduction() -> None:
    buffer = Buffer()
    add(buffer, 0, op="per_rank", a=1.0)
    assert buffer.closed_count == 0
    assert [p.values for p in buffer.take_per_rank()] == [{"a": 1.0}]
    assert not buffer.pending


def test_a_bad_weight_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="weight"):
        add(Buffer(), 0, weight=-1.0, a=1.0)
