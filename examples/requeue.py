"""Train in several jobs: save a checkpoint when a signal announces the time limit, and resume after the requeue.

    sbatch slurm/requeue.sbatch examples/requeue.py

Each start is another attempt of the same run, and its metrics continue from the checkpoint.
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
"""Exit status that requests a requeue from the job script."""


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
        # Save under another name first, so that a kill during saving leaves no partial checkpoint.
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
            # The signal reaches the ranks at different steps. All ranks must stop at the same step. Otherwise the
            # others would wait in a collective.
            someone = leave.clone()
            if dist.is_initialized():
                dist.all_reduce(someone, dist.ReduceOp.MAX)
            if someone:
                if rank == 0:
                    save(step + 1)
                # The status of a Slurm step is the highest status of its tasks, so one rank is enough.
                sys.exit(REQUEUE if rank == 0 else 0)


if __name__ == "__main__":
    main()
