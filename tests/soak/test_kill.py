"""Processes that are killed at random moments, many times; the long trials are in `benchmarks.soak`."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("tensorboard")

from benchmarks.soak.kill_forwarder import kill_forwarders
from benchmarks.soak.kills import kill

sys.path.insert(0, str(Path(__file__).parents[1] / "delivery"))
from mlflow_database import place_database
from mlflow_server import serve

pytestmark = pytest.mark.slow


def test_two_hundred_kills_of_rank_0_lose_nothing_that_was_acknowledged_and_show_nothing_twice(tmp_path: Path) -> None:
    place_database(tmp_path / "mlflow" / "mlflow.db")
    found = kill(200, seed=7, savedir=tmp_path)
    assert found.attempts > 100, "most came as far as their first record"
    assert found.acknowledged > 1000
    assert (found.lost, found.mlflow_lost, found.tensorboard_lost) == (0, 0, 0)
    assert (found.mlflow_twice, found.tensorboard_twice) == (0, 0)


def test_killed_forwarders_lose_nothing_show_nothing_twice_and_training_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    with serve(tmp_path / "mlflow") as port:
        found = kill_forwarders(2500, seed=5, savedir=tmp_path / "logs", tracking_uri=f"http://127.0.0.1:{port}")
    assert found.exit_status == 0
    assert found.kills >= 2
    assert found.lost == {"mlflow": 0, "tensorboard": 0, "wandb": 0}
    assert found.twice == {"mlflow": 0, "tensorboard": 0, "wandb": 0}
