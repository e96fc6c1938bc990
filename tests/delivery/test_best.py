from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ranklog.backends.shared.best import Best
from ranklog.model.record import EVERY_BACKEND, MetricInfo, Metrics

values = st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 0.5, 2.0])
attempts = st.lists(st.lists(st.tuples(st.integers(0, 5), values), max_size=6), max_size=4)


@given(attempts, st.sampled_from(["min", "max"]))
def test_the_best_is_the_best_finite_value_of_the_points_that_count(
    attempts: list[list[tuple[int, float]]], goal: str
) -> None:
    best = Best()
    best.set_goal(MetricInfo(0, EVERY_BACKEND, "loss", goal))  # type: ignore[arg-type]
    counts: dict[int, float] = {}
    for number, points in enumerate(attempts):
        if points:
            counts = {step: value for step, value in counts.items() if step < points[0][0]}
        for step, value in points:
            best.add(Metrics(step, 0, EVERY_BACKEND, {"loss": value, "other": 9.0}), number)
            counts[step] = value
    finite = [value for value in counts.values() if math.isfinite(value)]
    found = best.of("loss")
    if not finite:
        assert found is None
    else:
        assert found is not None
        assert found[0] == (min if goal == "min" else max)(finite) == counts[found[1]]
    assert best.of("other") is None
