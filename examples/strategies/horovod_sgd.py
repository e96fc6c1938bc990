"""Horovod, started by horovodrun."""

import horovod.torch as hvd
import torch
from torch import nn

from ranklog import create_logger

hvd.init()
model = nn.Linear(4, 1)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), 0.01))

logger = create_logger(log_freq="batch")
with logger.start_logging():
    for step in range(20):
        loss = model(torch.ones(8, 4) * (1 + hvd.rank())).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logger.log(loss, "loss", step=step, batch_idx=step, reduce="mean", weight=8)
