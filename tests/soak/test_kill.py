"""Processes that are killed at random moments, many times; the long trials are in `benchmarks.soak`."""

from pathlib import Path

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("tensorboard")

from benchmarks.soak.kills import kill

pytestmark = pytest.mark.slow


def test_two_hundred_kills_of_rank_0_lose_nothing_that_was_acknowledged_and_show_nothing_twice(tmp_path: Path) -> None:
    found = kill(200, seed=7, savedir=tmp_path)
    assert found.attempts > 100, "most came as far as their first record"
    assert found.acknowledged > 1000
    assert (found.lost, found.mlflow_lost, found.tensorboard_lost) == (0, 0, 0)
    assert (found.mlflow_twice, found.tensorboard_twice) == (0, 0)
