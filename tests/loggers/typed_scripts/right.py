"""Calls as users write them; mypy accepts each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import ranklog
from ranklog import LoggersCollection, MLFlowLogger, TensorBoardLogger, WandBLogger, create_logger
from ranklog.loggers import BackendLogger, EmptyLogger, Logger, Prov4MLLogger, RunArguments

if TYPE_CHECKING:
    from typing_extensions import Unpack


def make(project: str, savedir: Path, **run: Unpack[RunArguments]) -> Logger:
    """A function of the user's own that passes arguments on."""
    run.setdefault("reduce", "mean")
    return WandBLogger(savedir, project, offline_mode=True, log_freq=10, **run)


def main(savedir: Path) -> None:
    """Logs a little."""
    loggers: list[Logger] = [
        make("digits", savedir, experiment="digits", reduce="mean", forward="later"),
        MLFlowLogger(savedir, experiment_name="digits", run_name="first", log_on_workers=[0], forward="later"),
        TensorBoardLogger(str(savedir), "pytorch", log_freq="batch", strategy="single", forward="later"),
        Prov4MLLogger("www.example.org", savedir=savedir, formats="json,turtle", forward="later"),
        BackendLogger("console", {"savedir": str(savedir)}, forward="later"),
    ]
    EmptyLogger(savedir, project_name="x", tracking_uri=None, run_id="same")
    create_logger("csv,tensorboard", options={"csv": {"log_freq": 5}}, savedir=savedir, forward="later")
    logger = LoggersCollection(loggers)
    with logger.start_logging(rank=None, run_name="second", exit_timeout=1.0):
        logger.log(0.5, "loss", step=1, reduce="mean", weight=2.0, goal="min", context="training")
        logger.log("text", "note", kind="text", step=1)
        logger.log(b"data", "data.bin", kind="artifact", policy="immutable")
        logger.log([0.1, 0.2], ["a", "b"])
        logger.log_metrics({"a": 1, "b": 2.0}, step=2, batch_idx=3)
        logger.save_hyperparameters(argparse.Namespace(lr=0.1))
        mean: float = logger.reduce_now(1.0, "mean", timeout=5)
        written: bool = logger.flush(5)
        run: str = logger.ranklog_run_id
    here: ranklog.Place = ranklog.place()
    ranklog.rank_zero_print(run, mean, written, here.rank)


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]))
