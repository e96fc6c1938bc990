"""A training on a shared file system: logs one step per line of standard input, and prints each acknowledged step.

With several ranks, rank 0 logs the steps, and every rank logs a file from a local folder.
"""

import os
import sys
from pathlib import Path

from ranklog import CSVLogger


def main(savedir: str, run_id: str, forward: str, flush_s: float, files: Path) -> None:
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        import torch.distributed as dist

        dist.init_process_group("gloo")
    logger = CSVLogger(savedir, run_id=run_id, forward=forward, log_on_workers=-1)
    with logger.start_logging():
        print("started", flush=True)
        if ranks > 1:
            file = files / f"rank-{rank}.bin"
            file.write_bytes(bytes([rank]) * 100_000)
            logger.log(str(file), f"file-{rank}", kind="artifact", step=0)
            logger.log(float(rank), "mean", step=0, reduce="mean")
        for line in sys.stdin if rank == 0 else ():
            step = int(line)
            logger.log(float(step), "loss", step=step)
            print(f"stored {step}" if logger.flush(flush_s) else f"not stored {step}", flush=True)
        if ranks > 1:
            assert logger.flush(60)
    if ranks > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:4], float(sys.argv[4]), Path(sys.argv[5]))
