"""Trains in several jobs: saves a checkpoint when a signal announces the time limit, and goes on from it when requeued.

    sbatch slurm/requeue.sbatch examples/requeue.py

Each start is another attempt of the same run, and its metrics go on where the checkpoint was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ranklog import create_logger

BATCH = 32
REQUEUE = 99
"""Exit status that asks the job script for a requeue."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between steps, to try the requeue")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"))
    args = parser.parse_args()

    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if dist.is_initialized() else 0
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16.0, torch.tensor(digits.target)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters())
    first = 0
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    model = DistributedDataParallel(net) if dist.is_initialized() else net

    def save(step: int) -> None:
        # To another name first: a job that is killed while it saves must not leave half a checkpoint.
        half = args.checkpoint.with_suffix(".new")
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, half)
        half.replace(args.checkpoint)

    leave = torch.zeros(1)
    logger = create_logger(experiment="requeue", log_freq="batch")
    with logger.start_logging():
        logger.on_preempt(lambda: leave.fill_(1), signals=["SIGUSR1"])
        for step in range(first, args.steps):
            batch = torch.randint(len(labels), (BATCH,), generator=torch.Generator().manual_seed(step * 1000 + rank))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            logger.log(loss, "train/loss", step=step, batch_idx=step, reduce="mean")
            time.sleep(args.pause)
            # The signal comes to the ranks at different steps. They must leave at the same one, or the others would
            # wait in a collective.
            someone = leave.clone()
            if dist.is_initialized():
                dist.all_reduce(someone, dist.ReduceOp.MAX)
            if someone:
                if rank == 0:
                    save(step + 1)
                # The step's status is the highest of its tasks': one that tells of the requeue is enough.
                sys.exit(REQUEUE if rank == 0 else 0)


if __name__ == "__main__":
    main()
