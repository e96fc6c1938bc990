"""Strange, long, many and hostile names and texts: stored as they are or refused in the caller, nothing elsewhere."""

import io
from pathlib import Path
from typing import Any

import pytest
from mlflow_database import place_database

pytest.importorskip("mlflow")
pytest.importorskip("tensorboard")
pytest.importorskip("wandb")

from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranklog import ConsoleLogger, JournalLogger, LoggersCollection, MLFlowLogger, TensorBoardLogger, WandBLogger
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors
from ranklog.model.errors import InvalidArgumentError
from ranklog.view.query import RunView

FILES = ["/etc/passwd", "Loss", "loss", "LOSS", "ünï=[0]@%", "x" * 200, "a b", "~/c", "con", "-rf"]
NAMES = ["../up", "a/../../b", "x" * 300, *FILES]
REFUSED = ["", "a\nb", "a\0b", "\ud800", "x" * 513, "\x1b[31m", 3, None]
TEXTS = ["", "\0", "a\r\nb\n" * 3, "\ud800 alone", "é" * 100, "x" * 10 * 1024 * 1024]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_name_that_nobody_could_show_is_refused_in_the_caller(name: Any, tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path)
    with logger.start_logging():
        for call in (
            lambda: logger.log(1.0, name, step=0),
            lambda: logger.log("text", name, kind="text", step=0),
            lambda: logger.log(b"x", name, kind="artifact", step=0),
        ):
            with pytest.raises(InvalidArgumentError, match="identifier="):
                call()


@pytest.mark.parametrize("name", ["../up", "a/../../b", "/", ".."])
def test_a_name_that_leads_out_of_the_run_is_refused_where_it_would_name_a_file(name: str, tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path)
    with logger.start_logging(), pytest.raises(InvalidArgumentError, match="leave out"):
        logger.log(b"x", name, kind="artifact", step=0)


@pytest.mark.slow
def test_names_and_texts_of_every_kind_reach_every_backend_and_no_other_place(tmp_path: Path) -> None:
    savedir = tmp_path / "deep" / "er" / "logs"
    place_database(savedir / "mlflow" / "mlflow.db")
    logger = LoggersCollection(
        [
            MLFlowLogger(savedir, forward="later"),
            TensorBoardLogger(savedir, forward="later"),
            WandBLogger(savedir, project_name="p", offline_mode=True, forward="later"),
            ConsoleLogger(savedir, forward="later"),
        ]
    )
    with logger.start_logging():
        run_dir = logger.run_dir
        for number, name in enumerate(NAMES):
            logger.log(float(number), name, step=0)
            if name not in FILES:
                continue
            logger.log(f"text {number}", f"texts/{name}", kind="text", step=0)
            logger.log(f"bytes {number}".encode(), f"files/{name}", kind="artifact", step=0)
        for number, text in enumerate(TEXTS):
            logger.log(text, f"long/{number}", kind="text", step=0)
        logger.save_hyperparameters({name: text[:1000] for name, text in zip(NAMES, TEXTS, strict=False)})
    before = {path for path in tmp_path.rglob("*") if savedir not in path.parents}
    pump = Pump(run_dir, console=io.StringIO())
    for _ in pump.run(Finish()):
        pass
    pump.close()
    assert {path for path in tmp_path.rglob("*") if savedir not in path.parents} == before
    cursors = {cursor.backend: cursor for _, cursor in load_cursors(run_dir)}
    assert {name: (c.status, c.error) for name, c in cursors.items()} == dict.fromkeys(cursors, ("FINISHED", None))
    assert {name: len(cursor.refused) for name, cursor in cursors.items()} == dict.fromkeys(cursors, 0)

    expected = {name: float(number) for number, name in enumerate(NAMES)}
    view = RunView(run_dir)
    assert {row.name: row.last for row in view.metrics()} == expected
    assert {item.name for item in view.items if item.kind == "text"} >= {f"texts/{name}" for name in FILES}
    known = cursors["mlflow"].known
    metrics = MlflowClient(tracking_uri=known["tracking_uri"]).get_run(known["run_id"]).data.metrics
    assert sorted(metrics.values()) == sorted(expected.values())
    found = EventAccumulator(cursors["tensorboard"].known["folder"], size_guidance={"scalars": 0}).Reload()
    assert {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]} == expected


@pytest.mark.slow
def test_a_hundred_thousand_names_are_kept_apart(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path)
    values = {f"layer/{number}/norm": float(number) for number in range(100_000)}
    with logger.start_logging(exit_timeout=120):
        run_dir = logger.run_dir
        logger.log_metrics(values, step=0)
        logger.log_metrics(values, step=1, reduce="mean")
    view = RunView(run_dir)
    assert len(view.names) == 100_000
    for number in (0, 1, 50_000, 99_999):
        assert [(p.step, p.value) for p in view.series(f"layer/{number}/norm")] == [(0, number), (1, number)]
