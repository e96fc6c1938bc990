"""DeepSpeed, started by torchrun or its own launcher."""

import deepspeed
import torch
from torch import nn

from ranklog import create_logger

deepspeed.init_distributed(dist_backend="gloo")  # or "nccl"
config = {
    "train_micro_batch_size_per_gpu": 8,
    "optimizer": {"type": "Adam", "params": {"lr": 0.01, "torch_adam": True}},
    "zero_optimization": {"stage": 1},
}
model = nn.Linear(4, 1)
engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)

logger = create_logger(log_freq="batch")
with logger.start_logging():
    for step in range(20):
        loss = engine(torch.ones(8, 4) * (1 + engine.global_rank)).square().mean()
        engine.backward(loss)
        engine.step()
        logger.log(loss, "loss", step=step, batch_idx=step, reduce="mean", weight=8)
