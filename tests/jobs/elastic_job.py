"""One rank of an elastic job: logs a mean per step until the test has seen enough, or for a given number of steps.

It logs below ``FOLDER`` and stops when ``FOLDER/enough`` is there. A worker of the agent ``FAILS`` fails once, at step
4. Each step has a collective, so a rank notices that another one is gone.
"""

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from ranklog.loggers import CSVLogger

folder = Path(os.environ["FOLDER"])
dist.init_process_group("gloo")
rank, failed = dist.get_rank(), folder / "failed"
logger = CSVLogger(savedir=folder / "logs", log_freq="batch")
enough = torch.zeros(1)
with logger.start_logging():
    step = 0
    while not enough.item():
        logger.log(float(rank + 1), "loss", step=step, batch_idx=step, reduce="mean")
        time.sleep(0.1)
        if os.environ["AGENT"] == os.environ.get("FAILS") and step == 4 and not failed.exists():
            failed.touch()
            os._exit(1)
        enough.fill_((folder / "enough").exists())
        dist.all_reduce(enough)
        step += 1
dist.destroy_process_group()
