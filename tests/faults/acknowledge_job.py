"""Two ranks, of which rank 1 flushes while the disk of rank 0 stalls; see `test_acknowledge`.

Prints one JSON object on rank 1. The ranks meet over the program's own process group.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch.distributed as dist

from ranklog import JournalLogger
from ranklog.testing import captured, series

STALL = Path(os.environ["FAULT_WHILE"])
STALLED = Path(os.environ["FAULT_STALL"])


def main(savedir: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    logger = JournalLogger(savedir, run_id="acknowledged", log_on_workers=-1)
    logger.create_logger_context()
    logger.log(0.0, "loss", step=0)
    before = logger.flush()
    dist.barrier()
    if rank == 0:
        STALL.touch()
        while not STALLED.exists():
            logger.log(1.0, "stalling", step=0)
            time.sleep(0.05)
    dist.barrier()
    if rank == 1:
        logger.log(1.0, "loss", step=1)
        logger.log(1.0, "mean", step=1, reduce="mean")
        during, stalled = logger.flush(1), STALL.exists()
        STALL.unlink()
        after = logger.flush()
        records = captured(savedir / "runs" / "acknowledged")
        journaled = [sorted(series(records, name).items()) for name in ("loss/rank_001", "mean")]
        said = {"before": before, "during": during, "stalled": stalled, "after": after, "journaled": journaled}
        print(json.dumps(said), flush=True)
    else:
        logger.log(1.0, "mean", step=1, reduce="mean")
        logger.flush()
    dist.barrier()
    logger.destroy_logger_context()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
