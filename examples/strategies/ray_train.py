"""Ray Train: one script, which starts its own workers."""

from pathlib import Path

import ray.train
import ray.train.torch
import torch
from ray.train.torch import TorchTrainer
from torch import nn

from ranklog import create_logger

SAVEDIR = Path("mllogs").resolve()  # each worker has its own working directory


def train_on_a_worker() -> None:
    model = ray.train.torch.prepare_model(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    rank = ray.train.get_context().get_world_rank()

    logger = create_logger(savedir=SAVEDIR, log_freq="batch")
    with logger.start_logging():
        for step in range(20):
            loss = model(torch.ones(8, 4) * (1 + rank)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            logger.log(loss, "loss", step=step, batch_idx=step, reduce="mean", weight=8)


if __name__ == "__main__":
    TorchTrainer(train_on_a_worker, scaling_config=ray.train.ScalingConfig(num_workers=2)).fit()
