"""Detector of glitches in the strain of a gravitational-wave interferometer, with one-dimensional convolutions.

    torchrun --nproc-per-node 2 examples/use_cases/find_glitches.py

It logs the loss of every batch, one series per rank, a table of predictions, the strain as audio, an HTML report and a
text. It also logs the load of the node, its energy if codecarbon is installed, and provenance as W3C PROV. Training
stops early when the loss reduced over all ranks no longer improves.
"""

from __future__ import annotations

import argparse
import importlib.util
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ranklog.loggers import (
    ConsoleLogger,
    JournalLogger,
    Logger,
    LoggersCollection,
    MLFlowLogger,
    Prov4MLLogger,
    TensorBoardLogger,
)

# TensorBoard receives every batch, the others every epoch.
LOGGERS = {
    "console": (ConsoleLogger, "epoch"), "mlflow": (MLFlowLogger, "epoch"), "tensorboard": (TensorBoardLogger, "batch"),
    "prov": (Prov4MLLogger, "epoch"), "journal": (JournalLogger, "epoch"),
}  # fmt: skip

RATE = 1024
BATCH = 32
BATCHES = 12
PATIENCE = 2
LR = 2e-2


def strain(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of one second of whitened strain, half of them with a short burst, and a label for each."""
    time = torch.arange(RATE) / RATE
    noise = torch.randn(count, RATE, generator=generator)
    has_one = torch.rand(count, generator=generator) < 0.5
    centre = 0.2 + 0.6 * torch.rand(count, 1, generator=generator)
    frequency = 60 + 140 * torch.rand(count, 1, generator=generator)
    burst = torch.exp(-(((time - centre) / 0.03) ** 2)) * torch.sin(6.2832 * frequency * time)
    return noise + 3.0 * burst * has_one[:, None], has_one.float()


def own_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


class Trainer:
    """Trains and logs. Every rank runs the same code and makes the same calls.

    Args:
        logger: Receives everything.
        epochs: Maximum number of epochs.
    """

    def __init__(self, logger: Logger, epochs: int) -> None:
        self.logger = logger
        self.epochs = epochs
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.device = own_device()
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Unflatten(1, (1, RATE)), nn.Conv1d(1, 8, 33, stride=4), nn.ReLU(), nn.AdaptiveMaxPool1d(4), nn.Flatten(),
            nn.Linear(32, 1), nn.Flatten(0),
        ).to(self.device)  # fmt: skip
        self.model = DistributedDataParallel(net) if dist.is_initialized() else net
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR)
        self.random = torch.Generator().manual_seed(self.rank)
        self.test = strain(128, torch.Generator().manual_seed(99))

    def log(self, item, identifier, kind="metric", step=None, batch_idx=None, **kwargs) -> None:
        self.logger.log(item, identifier, kind=kind, step=step, batch_idx=batch_idx, **kwargs)

    def execute(self) -> None:
        self.logger.create_logger_context(rank=self.rank)
        self.logger.save_hyperparameters({"epochs": self.epochs, "lr": LR, "rate": RATE, "patience": PATIENCE})
        self.log(("strain", "simulated-1", "urn:simulated:strain"), "strain", kind="dataset", context="training")
        quiet, best, epoch = 0, float("inf"), 0
        for epoch in range(self.epochs):
            self.train_epoch(epoch)
            loss = self.test_epoch(epoch)
            self.measure(epoch)
            # Every rank gets the same number, so all ranks stop together.
            agreed = self.logger.reduce_now(loss, op="mean")
            quiet, best = (0, agreed) if agreed < best - 1e-3 else (quiet + 1, best)
            if quiet == PATIENCE:
                break
        self.report(epoch, best)
        self.logger.destroy_logger_context()

    def train_epoch(self, epoch: int) -> None:
        for batch_idx in range(BATCHES):
            signals, labels = strain(BATCH, self.random)
            loss = cross_entropy(self.model(signals.to(self.device)), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            step = epoch * BATCHES + batch_idx
            self.log(loss, "train/loss", step=step, batch_idx=batch_idx, reduce="mean", context="training")
            self.log(loss, "train/loss_of", step=step, batch_idx=batch_idx, reduce="per_rank")

    @torch.no_grad()
    def test_epoch(self, epoch: int) -> float:
        signals, labels = (tensor.to(self.device) for tensor in self.test)
        scores = self.model(signals)
        loss = float(cross_entropy(scores, labels))
        self.log(loss, "val/loss", step=epoch, goal="min", context="validation")
        rows = [
            [index, bool(labels[index]), round(float(score), 4)] for index, score in enumerate(scores[:20].sigmoid())
        ]
        self.log((["signal", "glitch", "score"], rows), "val/predictions", kind="table", step=epoch)
        return loss

    def measure(self, epoch: int) -> None:
        self.log(None, None, kind="system", step=epoch)
        if importlib.util.find_spec("codecarbon") is not None:
            self.log(None, None, kind="carbon", step=epoch)

    def report(self, epoch: int, best: float) -> None:
        signals, labels = self.test
        loudest = signals[int(labels.argmax())]
        self.log(
            loudest / loudest.abs().max(), "glitch", kind="audio", step=epoch, sample_rate=RATE, caption="a glitch"
        )
        self.log(f"Stopped after epoch {epoch}; best loss **{best:.4f}**.", "summary", kind="text", step=epoch)
        page = f"<h1>Glitches</h1><p>{epoch + 1} epochs, best loss {best:.4f}</p>"
        self.log(page, "report", kind="html", step=epoch)
        self.log(None, None, kind="prov_documents", step=epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--savedir", default="mllogs")
    parser.add_argument("--backends", default="console,mlflow,tensorboard,prov")
    args = parser.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    common = {"savedir": args.savedir, "experiment": "glitches"}
    chosen = [LOGGERS[name] for name in args.backends.split(",")]
    logger = LoggersCollection([make(log_freq=log_freq, **common) for make, log_freq in chosen])
    Trainer(logger, args.epochs).execute()
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
