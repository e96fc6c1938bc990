"""Ten scalars per step in one process, with ranklog and with the clients of its backends.

python -m benchmarks.one_process CASE OUT.json
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.timing import Timing, measure

NAMES = [f"train/metric_{i}" for i in range(10)]
VALUES = dict.fromkeys(NAMES, 0.5)


def ranklog_metrics(folder: Path) -> Timing:
    from ranklog import JournalLogger

    logger = JournalLogger(folder, log_freq="batch")
    logger.create_logger_context()
    return measure(
        "ranklog log_metrics, 10 scalars",
        lambda i: logger.log_metrics(VALUES, step=i, batch_idx=i),
        100_000,
        logger.destroy_logger_context,
    )


def ranklog_log(folder: Path) -> Timing:
    from ranklog import JournalLogger

    logger = JournalLogger(folder, log_freq="batch")
    logger.create_logger_context()

    def step(i: int) -> None:
        for name in NAMES:
            logger.log(0.5, name, step=i, batch_idx=i)

    return measure("ranklog log, 10 calls", step, 30_000, logger.destroy_logger_context)


def ranklog_refused(folder: Path) -> Timing:
    from ranklog import JournalLogger

    logger = JournalLogger(folder, log_freq="epoch")
    logger.create_logger_context()

    def step(i: int) -> None:
        for _ in range(10):
            logger.log(0.5, "loss", step=i, batch_idx=i)

    return measure("ranklog log refused by the gate, 10 calls", step, 100_000, logger.destroy_logger_context)


def ranklog_delivered(folder: Path) -> Timing:
    from ranklog import LoggersCollection, MLFlowLogger, TensorBoardLogger

    logger = LoggersCollection([MLFlowLogger(folder, log_freq="batch"), TensorBoardLogger(folder, log_freq="batch")])
    logger.create_logger_context()
    logger.log_metrics(VALUES, step=0)
    logger.wait_delivered(60)
    return measure(
        "ranklog log_metrics, delivering to MLflow and TensorBoard",
        lambda i: logger.log_metrics(VALUES, step=i, batch_idx=i),
        20_000,
        lambda: logger.destroy_logger_context(exit_timeout=120),
    )


def mlflow_sync(folder: Path) -> Timing:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.start_run()
    return measure("mlflow.log_metrics", lambda i: mlflow.log_metrics(VALUES, step=i), 200, mlflow.end_run)


def mlflow_async(folder: Path) -> Timing:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.start_run()

    def close() -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()

    return measure(
        "mlflow.log_metrics, synchronous=False",
        lambda i: mlflow.log_metrics(VALUES, step=i, synchronous=False),
        500,
        close,
    )


def wandb_offline(folder: Path) -> Timing:
    import wandb

    run = wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True, console="off"))
    return measure("wandb run.log, offline", lambda i: run.log(VALUES, step=i), 5_000, run.finish)


def tensorboard_writer(folder: Path) -> Timing:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def step(i: int) -> None:
        for name in NAMES:
            writer.add_scalar(name, 0.5, i)

    return measure("torch SummaryWriter.add_scalar, 10 calls", step, 2_000, writer.close)


CASES: dict[str, Callable[[Path], Timing]] = {
    case.__name__: case
    for case in (
        ranklog_metrics, ranklog_log, ranklog_refused, ranklog_delivered,
        mlflow_sync, mlflow_async, wandb_offline, tensorboard_writer,
    )
}  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with tempfile.TemporaryDirectory() as directory:
        timing = CASES[sys.argv[1]](Path(directory))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode([timing]))
