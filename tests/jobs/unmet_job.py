"""One rank of a job whose ranks do not meet: ``unmet_job.py CASE``, in a folder that the test watches.

Rank 1 trains until ``enough`` is there. In case ``no-group`` there is no process group, in case
``one-logger`` only rank 0 logs, in case ``first`` rank 0 is lost before it opens a logger, and in case ``later`` after
the ranks have met.
"""

import os
import sys
import time
from pathlib import Path

from ranklog.loggers import JournalLogger

PATIENCE_S = 60.0
case, rank = sys.argv[1], int(os.environ["RANK"])
if case != "no-group":
    import torch.distributed as dist

    dist.init_process_group("gloo")
    dist.barrier()
print("ready", flush=True)
while (case == "first" and not Path("lost").exists()) or (case, rank) == ("one-logger", 1):
    time.sleep(0.05)
logger = JournalLogger("logs", run_id="unmet", log_freq="batch")
with logger.start_logging(exit_timeout=30):
    step, end_s = 0, time.monotonic() + PATIENCE_S
    while not Path("enough").exists():
        assert time.monotonic() < end_s
        logger.log(float(rank + 1), "loss", step=step, batch_idx=step, reduce="mean")
        time.sleep(0.05)
        step += 1
Path(f"steps-{rank}").write_text(str(step))
os._exit(0)  # torch's own ending would wait for the other rank
