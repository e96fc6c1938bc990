"""A run whose second and third attempts went back some steps, as each backend's own reader shows it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from mlflow_database import place_database

pytest.importorskip("mlflow")
pytest.importorskip("tensorboard")
pytest.importorskip("wandb")

from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_reader import OfflineRun, offline_files

from ranklog import LoggersCollection, MLFlowLogger, TensorBoardLogger, WandBLogger
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors

pytestmark = pytest.mark.slow

SPANS = [(0, 50), (30, 70), (60, 100)]
COUNTS = [0.0] * 30 + [1.0] * 30 + [2.0] * 40
REPLACED = 20 + 10


def attempt(savedir: Path, number: int) -> Path:
    """One attempt: `loss` goes back to where its checkpoint was, `epoch` has an axis of its own and goes on."""
    logger = LoggersCollection(
        [
            # Named, since MLflow's own calls in other tests leave a URI in the environment.
            MLFlowLogger(savedir, tracking_uri=f"sqlite:///{savedir}/m.db", forward="later", run_id="rewound"),
            TensorBoardLogger(savedir, forward="later", run_id="rewound"),
            WandBLogger(savedir, project_name="p", offline_mode=True, forward="later", run_id="rewound"),
        ]
    )
    with logger.start_logging():
        for step in range(*SPANS[number]):
            logger.log(float(number), "loss", step=step)
        logger.log(float(number), "epoch", step=number)
        return logger.run_dir


def deliver(run_dir: Path) -> None:
    pump = Pump(run_dir, console=io.StringIO())
    try:
        assert [feed.cursor.error for feed in pump.run(Finish())][-1] is None
    finally:
        pump.close()


@pytest.fixture(scope="module", params=["after each attempt", "at the end"])
def run_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    savedir = tmp_path_factory.mktemp("rewound")
    place_database(savedir / "m.db")
    for number in range(len(SPANS)):
        run = attempt(savedir, number)
        if request.param == "after each attempt":
            deliver(run)
    deliver(run)
    deliver(run)
    return run


def known(run_dir: Path, backend: str) -> dict[str, str]:
    return next(cursor.known for _, cursor in load_cursors(run_dir) if cursor.backend == backend)


def test_tensorboard_shows_one_continuous_series_of_what_counts(run_dir: Path) -> None:
    folder = known(run_dir, "tensorboard")["folder"]
    found = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == list(enumerate(COUNTS))
    assert [(e.step, e.value) for e in found.Scalars("epoch")] == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_mlflow_keeps_every_point_once_and_a_tag_says_from_which_step_on_an_attempt_counts(run_dir: Path) -> None:
    facts = known(run_dir, "mlflow")
    client = MlflowClient(tracking_uri=facts["tracking_uri"])
    history = client.get_metric_history(facts["run_id"], "loss")
    assert len(history) == len(COUNTS) + REPLACED
    assert {m.step: m.value for m in sorted(history, key=lambda m: m.timestamp)} == dict(enumerate(COUNTS))
    tags = client.get_run(facts["run_id"]).data.tags
    assert tags["ranklog.superseded.1"] == "loss from step 30"
    assert tags["ranklog.superseded.2"] == "loss from step 60"


def test_wandb_keeps_every_row_once_and_the_highest_attempt_of_a_step_counts(run_dir: Path) -> None:
    (path,) = offline_files(Path(known(run_dir, "wandb")["directory"]).parents[1])
    rows = [row for row in OfflineRun(path).history if "loss" in row]
    assert len(rows) == len(COUNTS) + REPLACED
    newest: dict[int, tuple[int, float]] = {}
    for row in rows:
        newest[row["step"]] = max(newest.get(row["step"], (-1, 0.0)), (row.get("ranklog/attempt", 0), row["loss"]))
    assert [value for _, (_, value) in sorted(newest.items())] == COUNTS
