"""Without step= the x axis of a backend counts the calls that this backend takes, whatever other backends there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranklog import LoggersCollection
from ranklog.logger.steps import StepCounts
from ranklog.loggers import BackendLogger
from ranklog.model.record import Item, Metrics
from ranklog.model.spec import BackendSpec
from ranklog.pipeline.gate import Gate, freq_takes
from ranklog.testing import captured
from ranklog.view.query import RunView

FREQUENCIES = st.lists(st.sampled_from(["epoch", "batch", 2, 3, 10]), min_size=1, max_size=4)
CALLS = st.lists(st.tuples(st.sampled_from(["loss", "acc", "loss acc"]), st.none() | st.integers(0, 12)), max_size=40)


def members(*frequencies: Any, **common: Any) -> list[BackendLogger]:
    return [
        BackendLogger("csv", {"savedir": f"logs/{place}"}, log_freq=freq, forward="later", **common)
        for place, freq in enumerate(frequencies)
    ]


def points(records: list[Any], bit: int, name: str) -> list[tuple[int, float]]:
    return [
        (r.step, r.values[name]) for r in records if isinstance(r, Metrics) and name in r.values and r.to >> bit & 1
    ]


@given(FREQUENCIES, CALLS)
def test_each_backend_counts_as_it_would_alone(frequencies: list[Any], calls: list[tuple[str, int | None]]) -> None:
    specs = [BackendSpec(backend="csv", log_freq=freq) for freq in frequencies]
    gate = Gate(specs, rank=0, world_size=1)
    together, alone = StepCounts(), [StepCounts() for _ in specs]
    for names, batch_idx in calls:
        mask = gate.every if batch_idx is None else gate.batch(batch_idx)
        steps = together.take(names.split(), mask)
        for bit, freq in enumerate(frequencies):
            taken = [step for step, to in steps.items() if to >> bit & 1]
            assert taken == (list(alone[bit].take(names.split(), 1)) if freq_takes(freq, batch_idx) else [])


def test_metrics_of_a_member_that_takes_fewer_calls_have_no_gaps() -> None:
    every, tenth = members("batch", 10)
    logger = LoggersCollection([every, tenth])
    with logger.start_logging():
        for batch in range(30):
            logger.log(float(batch), "loss", batch_idx=batch)
            logger.log_metrics({"lr": float(batch)}, batch_idx=batch)
        tenth.log(99.0, "loss")
        logger.flush()
        records = captured(logger)
    for name in ("loss", "lr"):
        assert points(records, 0, name) == [(step, float(step)) for step in range(30)]
        assert points(records, 1, name)[:3] == [(0, 0.0), (1, 10.0), (2, 20.0)]
    assert points(records, 1, "loss")[3:] == [(3, 99.0)], "a member used by itself goes on with its own count"


def test_reduced_metrics_and_items_are_counted_for_each_member_too() -> None:
    logger = LoggersCollection(members("batch", 2))
    with logger.start_logging():
        for batch in range(4):
            logger.log(float(batch), "loss", batch_idx=batch, reduce="mean")
            logger.log(f"text {batch}", "note", kind="text", batch_idx=batch)
            logger.log(np.full((2, 2), batch / 4), "picture", kind="image", batch_idx=batch)
        logger.flush()
        records = captured(logger)
    assert points(records, 1, "loss") == [(0, 0.0), (1, 2.0)]
    for kind in ("text", "image"):
        steps = [
            [r.step for r in records if isinstance(r, Item) and r.kind == kind and r.to >> bit & 1] for bit in (0, 1)
        ]
        assert steps == [[0, 1, 2, 3], [0, 1]]


def test_members_of_one_frequency_share_one_record() -> None:
    logger = LoggersCollection(members(5, 5))
    with logger.start_logging():
        for batch in range(10):
            logger.log(float(batch), "loss", batch_idx=batch)
        logger.flush()
        assert [(r.step, r.to) for r in captured(logger) if isinstance(r, Metrics)] == [(0, 0b11), (1, 0b11)]


def test_the_run_shows_the_count_of_the_member_that_takes_most_calls() -> None:
    logger = LoggersCollection(members("epoch", "batch"))
    with logger.start_logging():
        for batch in range(6):
            logger.log(float(batch), "loss", batch_idx=batch)
        logger.log(6.0, "loss")
    view = RunView(logger.run_dir)
    assert [(point.step, point.value) for point in view.series("loss")] == [(step, float(step)) for step in range(7)]
    assert [(point.step, point.value) for point in view.superseded("loss")] == [(0, 6.0)], "and hides nothing"
