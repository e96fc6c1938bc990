"""Arguments of `Run.metrics`: wrong ones are errors that name the cure, and no value of them costs much memory."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journals import write

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import Metrics
from ranklog.view.run import Run

SECOND = 10**9


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "cache"))
    values = [Metrics(step, step * SECOND, -1, {"loss": float(step)}) for step in range(100)]
    values += [Metrics(0, SECOND, -1, {f"mine/rank_{rank:03d}": rank}) for rank in range(3)]
    write(tmp_path / "run", 0, values, at_ns=SECOND)
    with Run(tmp_path / "run") as run:
        yield run


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        ({"points": 2.5}, "a whole number"),
        ({"points": "5"}, "a whole number"),
        ({"points": True}, "a whole number"),
        ({"smooth": "much"}, "below 1"),
        ({"smooth": None}, "below 1"),
        ({"smooth": math.nan}, "below 1"),
        ({"start": "now"}, "a number"),
        ({"end": math.nan}, "a number"),
        ({"x": "time", "start": np.datetime64("2026-01-01")}, "a number"),
        ({"x": "time", "start": datetime(2026, 1, 1)}, "tzinfo"),
        ({"start": datetime(2026, 1, 1, tzinfo=timezone.utc)}, "x='time'"),
        ({"x": 3}, "the name of a metric"),
        ({"ranks": 3}, "'all' or a list"),
        ({"ranks": "some"}, "'all' or a list"),
        ({"ranks": [1.5]}, "'all' or a list"),
        ({"attempts": ["all"]}, "'newest' or 'all'"),
    ],
)
def test_wrong_arguments_are_errors_that_name_the_cure(run, wrong: dict[str, Any], cure: str):
    with pytest.raises(InvalidArgumentError, match=cure):
        run.metrics("mine" if "ranks" in wrong else "loss", **wrong)


def test_a_frame_without_rows_has_the_column_of_its_axis(tmp_path):
    write(tmp_path / "empty", 0, [])
    with Run(tmp_path / "empty") as run:
        assert run.metrics(x="relative").columns[-1] == "x"


def test_a_name_that_is_no_text_is_an_unknown_name(run):
    with pytest.raises(KeyError, match="there is no metric"):
        run.metrics(["loss"])


def test_more_points_than_rows_are_every_row(run):
    assert len(run.metrics("loss", points=10**15)) == 100


@pytest.mark.parametrize("ranks", [[0, 2], (0, 2), {0, 2}, range(0, 3, 2), np.array([0, 2])])
def test_ranks_come_in_any_collection(run, ranks):
    assert set(run.metrics("mine", ranks=ranks).numpy()["rank"].tolist()) == {0, 2}


def test_a_rank_without_a_series_is_named(run):
    with pytest.raises(KeyError, match="'mine' has no series of rank 7, 8; its ranks are 0 to 2"):
        run.metrics("mine", ranks=[7, 8])


def test_a_moment_of_any_zone_is_a_position_in_time(run):
    zone = timezone(timedelta(hours=-5))
    found = run.metrics("loss", x="time", end=datetime.fromtimestamp(3, zone)).numpy()
    assert found["step"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("points", [None, 5])
def test_a_range_that_ends_before_it_starts_is_empty(run, points):
    assert len(run.metrics("loss", start=5, end=2, points=points)) == 0


@pytest.mark.parametrize("end", [2**70, math.inf, -(2**70), 2**53 + 1])
@pytest.mark.parametrize("points", [None, 200])
def test_a_range_may_be_wider_than_any_step(run, end, points):
    assert len(run.metrics("loss", end=end, points=points)) == (100 if end > 0 else 0)
