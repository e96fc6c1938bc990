"""itwinai's own trainer, with its own logger and with ranklog's: MLflow's client finds the same in both."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from launch import torchrun
from mlflow import MlflowClient
from mlflow_database import place_database

from ranklog.journal.layout import find_runs
from ranklog.view.query import RunView

ITWINAI = Path(sys.prefix) / "itwinai"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ITWINAI.exists() and os.environ.get("CI", "").lower() != "true",
        reason="scripts/setup-runtimes.sh installs itwinai",
    ),
]


class Logged(msgspec.Struct):
    """What MLflow has of one training."""

    metrics: dict[tuple[str, int], float]
    params: dict[str, str]
    artifacts: set[str]


def logged(uri: str) -> Iterator[Logged]:
    client = MlflowClient(uri)
    for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
        names = run.data.metrics
        points = {(p.key, p.step): p.value for name in names for p in client.get_metric_history(run.info.run_id, name)}
        found = Logged(points, run.data.params, {each.path for each in client.list_artifacts(run.info.run_id)})
        if found.metrics:  # itwinai makes an empty one beside it
            yield found


def trained(package: str, tmp_path: Path) -> Logged:
    folder = tmp_path / package
    folder.mkdir()
    database = place_database(folder / "mlflow.db")
    job = Path(__file__).with_name("itwinai_job.py")
    done = torchrun(2, job, package, "sqlite:///mlflow.db", cwd=folder, PYTHONPATH=str(ITWINAI))
    assert done.code == 0, done.output
    (found,) = logged(f"sqlite:///{database}")
    return found


def test_after_one_changed_import_its_trainer_logs_what_it_logged_before(tmp_path: Path) -> None:
    before, after = trained("itwinai", tmp_path), trained("ranklog", tmp_path)
    assert {name for name, _ in before.metrics} >= {"train_loss", "train_loss_epoch", "validation_accuracy_epoch"}
    assert after.metrics.keys() == before.metrics.keys()
    timed = {key for key in before.metrics if "time" in key[0]}
    assert {k: v for k, v in after.metrics.items() if k not in timed} == pytest.approx(
        {k: v for k, v in before.metrics.items() if k not in timed}
    )
    # A tuple is a list in a journal.
    assert after.params == {**before.params, "optim_betas": "[0.9, 0.999]"}
    assert after.artifacts >= before.artifacts
    (run_dir,) = find_runs(tmp_path / "ranklog" / "mllogs" / "runs")
    assert RunView(run_dir).summary.status == "FINISHED"
