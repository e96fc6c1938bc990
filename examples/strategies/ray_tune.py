"""Ray Tune: each trial is an independent training and writes its own run."""

from pathlib import Path
from typing import Any

from ray import tune

from ranklog import create_logger

SAVEDIR = Path("mllogs").resolve()  # each trial has its own working directory


def trial(config: dict[str, Any]) -> dict[str, float]:
    logger = create_logger(savedir=SAVEDIR, log_freq="batch")
    with logger.start_logging():
        logger.save_hyperparameters(config)
        for step in range(20):
            loss = config["lr"] / (step + 1)
            logger.log(loss, "loss", step=step, batch_idx=step)
    return {"loss": loss}


if __name__ == "__main__":
    tune.Tuner(trial, param_space={"lr": tune.grid_search([0.1, 0.2])}).fit()
