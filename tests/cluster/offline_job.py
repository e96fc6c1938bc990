"""A training on a compute node without internet: tells what it can reach, and logs until it is told to end."""

import errno
import socket
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from ranklog import create_logger


def refused(host: str, port: int) -> str:
    """How the network refuses a connection."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    return "reached"


def main(folder: Path, port: int) -> None:
    dist.init_process_group("gloo")
    logger = create_logger("mlflow", experiment="offline", log_freq="batch")
    with logger.start_logging():
        if dist.get_rank() == 0:
            (folder / "reach").write_text(f"{refused('127.0.0.1', port)} {refused('192.0.2.1', 80)}")
        logger.save_hyperparameters({"lr": 0.1})
        step, enough = 0, torch.zeros(1)
        while not enough:
            logger.log(float(step + dist.get_rank()), "loss", step=step, batch_idx=step, reduce="mean")
            step += 1
            time.sleep(0.02)
            enough.fill_((folder / "enough").exists())
            dist.all_reduce(enough, dist.ReduceOp.MAX)
    (folder / "steps").write_text(str(step))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
