"""A training to whose every process a scheduler sends signals; prints how far it is, and who delivers at each point."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from torch.utils.data import DataLoader, IterableDataset

from ranklog import CSVLogger, LoggersCollection, WandBLogger

ASKED = ("SIGUSR1", "SIGUSR2")
HANDLED = ("SIGHUP", "SIGINT", "SIGTERM")
"""In this order: DataLoader workers end at SIGTERM, whatever their parent has set."""


class Endless(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            time.sleep(0.01)
            yield torch.ones(1)


def delivers(process: psutil.Process) -> bool:
    """Whether it is the forwarder, or W&B's process, which that starts."""
    try:
        return "ranklog.delivery" in process.cmdline() or process.name().startswith("wandb")
    except psutil.NoSuchProcess:  # it ends
        return False


def main(savedir: Path) -> None:
    got: list[str] = []
    for name in HANDLED:
        signal.signal(signal.Signals[name], lambda number, _: got.append(signal.Signals(number).name))
    logger = LoggersCollection([CSVLogger(savedir), WandBLogger(savedir, offline_mode=True)])
    logger.create_logger_context()
    for name in ASKED:
        logger.on_preempt(lambda name=name: got.append(name), signals=[name])
    loader = iter(DataLoader(Endless(), batch_size=2, num_workers=2))
    step = 0

    def come_to(mark: str) -> None:
        logger.log(float(step), "loss", step=step)
        assert logger.wait_delivered(120)
        # Parents come before their children: the forwarder before W&B's process.
        kept = [each.pid for each in psutil.Process().children(recursive=True) if delivers(each)]
        print(mark, *kept, flush=True)

    come_to("ready")
    for name in ASKED:
        while name not in got:
            next(loader)
        for _ in range(20):
            next(loader)
        step += 1
        come_to(name)
    del loader
    for name in HANDLED:
        while name not in got:
            time.sleep(0.05)
        step += 1
        come_to(name)
    # As a job that is requeued.
    sys.exit(99)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
