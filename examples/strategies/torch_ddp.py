"""torch.distributed, started by torchrun."""

import torch
import torch.distributed as dist
from torch import nn

from ranklog import create_logger

dist.init_process_group("gloo")  # or "nccl": ranklog's own communicator is on the CPU either way
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.01)

logger = create_logger(log_freq="batch")
with logger.start_logging():
    for step in range(20):
        loss = model(torch.ones(8, 4) * (1 + dist.get_rank())).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logger.log(loss, "loss", step=step, batch_idx=step, reduce="mean", weight=8)
dist.destroy_process_group()
