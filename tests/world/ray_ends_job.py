"""Driver of a Ray training that something ends: ``ray_ends_job.py CASE FOLDER``.

Cases: ``workers`` kills rank 1 in the first attempt and rank 0 in the second one. ``driver`` trains until the driver
ends. The driver ends normally when its standard input does.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import ray
import ray.train
from ray.train import collective
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from ranklog import MLFlowLogger
from ranklog.world.ray import RayStrategy

KILLED = (1, 0)
"""Rank that is killed, by attempt."""


def train(config: dict[str, str]) -> None:
    folder, rank = Path(config["folder"]), ray.train.get_context().get_world_rank()
    attempt = len(list(folder.glob("attempt*")))
    attempt = collective.broadcast_from_rank_zero(attempt)
    (folder / f"attempt{attempt}").touch()
    logger = MLFlowLogger(savedir=folder, strategy=RayStrategy(), log_freq="batch")
    with logger.start_logging():
        logger.log(10.0 * attempt + rank, "loss", step=attempt, reduce="mean")
        assert logger.flush(120)
        collective.barrier()
        if config["case"] == "workers" and attempt == len(KILLED):
            return
        if config["case"] == "workers" and rank == KILLED[attempt]:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / f"logged{rank}").touch()
        threading.Event().wait()


def main() -> None:
    case, folder = sys.argv[1:]
    ray.init(logging_level="WARNING")
    failures = ray.train.FailureConfig(max_failures=len(KILLED) if case == "workers" else 0)
    trainer = DataParallelTrainer(
        train,
        train_loop_config={"case": case, "folder": folder},
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=f"{folder}/train", failure_config=failures),
    )
    if case == "workers":
        trainer.fit()
    else:
        threading.Thread(target=trainer.fit, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
