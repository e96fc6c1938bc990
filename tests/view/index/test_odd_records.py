"""Records that are rare, or that no version of ranklog writes, break no view."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from journals import write

from ranklog.model.record import Coverage, Metrics
from ranklog.view.index import groups, tables
from ranklog.view.index.run_index import RunIndex
from ranklog.view.run import Run

LIMIT = 2**63


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "cache"))


def steps_of(run_dir: Path) -> list[int]:
    """Steps of a metric, from a new index and again from its cache."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with Run(run_dir) as run:
                found.append(run.metrics("loss").numpy()["step"].tolist())
                run.names(), run.status, run.outlook()
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    "odd",
    [
        Metrics(LIMIT, 1, -1, {"loss": 1.0}),
        Metrics(7, LIMIT, -1, {"loss": 1.0}),
        Metrics(7, 1, 2 * LIMIT - 1, {"loss": 1.0}),
        Metrics(7, 1, -1, {"loss": 1.0}, "mean", Coverage(LIMIT, LIMIT, 1)),
        Metrics(7, 1, -1, {}),
    ],
)
def test_a_row_that_no_column_can_hold_is_left_out_and_the_others_are_shown(tmp_path, odd):
    write(tmp_path / "run", 0, [Metrics(step, step, -1, {"loss": 1.0}) for step in (0, 1)])
    write(tmp_path / "run", 1, [Metrics(2, 2, -1, {"loss": 1.0}), odd, Metrics(3, 3, -1, {"loss": 1.0})])
    assert steps_of(tmp_path / "run") == [0, 1, 2, 3]


@pytest.mark.parametrize("steps", [[-LIMIT + 1, LIMIT - 1], [-(2**62) - 1, 2**62 + 1, 3 * 2**61], [5, 3, 1, -1, -3]])
def test_steps_may_be_as_far_apart_as_can_be(tmp_path, monkeypatch, steps):
    monkeypatch.setattr(tables, "BLOCK_ROWS", groups.PYRAMID_ROWS)
    write(tmp_path / "run", 0, [Metrics(step, 1, -1, {"loss": 1.0}) for step in steps])
    assert steps_of(tmp_path / "run") == sorted(steps)


def test_a_name_that_looks_like_a_rank_beyond_all_numbers_is_a_name(tmp_path):
    name = f"loss/rank_{10**30}"
    write(tmp_path / "run", 0, [Metrics(1, 1, -1, {name: 1.0})])
    with Run(tmp_path / "run") as run:
        assert run.metrics().numpy()["rank"].tolist() == [-1]


def test_many_metrics_with_few_rows_each_are_not_sorted_at_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 1 << 12)
    calls = []
    make_room = tables.Tables._make_room
    monkeypatch.setattr(tables.Tables, "_make_room", lambda each: (calls.append(1), make_room(each)))
    write(tmp_path / "run", 0, [Metrics(row, 1, -1, {f"metric-{row}": 1.0}) for row in range(1000)])
    index = RunIndex(tmp_path / "run", cached=False)
    index.refresh()
    assert len(index.tables.sources) == 1000
    assert len(calls) < 20
