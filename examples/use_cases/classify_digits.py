"""Classifier of handwritten digits with a trainer in the style of itwinai's users, on any number of ranks.

    torchrun --nproc-per-node 2 examples/use_cases/classify_digits.py

It logs the loss of every tenth batch and of each epoch, reduced over ranks, and the accuracy with a goal. Further items
are the confusion matrix, misclassified images, a PR curve, the embedding before the last layer, the dataset, the graph,
gradients, and models.
"""

from __future__ import annotations

import argparse
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from ranklog.loggers import ConsoleLogger, JournalLogger, Logger, LoggersCollection, MLFlowLogger, TensorBoardLogger

LOGGERS = {
    "console": ConsoleLogger, "mlflow": MLFlowLogger, "tensorboard": TensorBoardLogger, "journal": JournalLogger,
}  # fmt: skip


class Net(nn.Module):
    """A convolution and two linear layers for images of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 32))
        self.classify = nn.Sequential(nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(images))


def digits() -> tuple[TensorDataset, TensorDataset]:
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(bunch.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return tuple(TensorDataset(images[part], labels[part]) for part in (order[:1437], order[1437:]))


def own_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


class Trainer:
    """Trains and logs. Every rank runs the same code and makes the same calls.

    Args:
        logger: Receives everything.
        epochs: Number of epochs.
        lr: Learning rate.
    """

    def __init__(self, logger: Logger, epochs: int, lr: float) -> None:
        self.logger = logger
        self.epochs = epochs
        self.config = {"epochs": epochs, "optimizer": {"name": "Adam", "lr": lr}, "batch_size": 32}
        self.distributed = dist.is_initialized()
        self.rank = dist.get_rank() if self.distributed else 0
        self.device = own_device()
        self.train_set, self.test_set = digits()
        self.example = self.test_set[0][0][None].to(self.device)
        torch.manual_seed(0)
        self.net = Net().to(self.device)
        self.model = DistributedDataParallel(self.net) if self.distributed else self.net
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        self.best = 0.0

    def log(self, item, identifier, kind="metric", step=None, batch_idx=None, **kwargs) -> None:
        self.logger.log(item, identifier, kind=kind, step=step, batch_idx=batch_idx, **kwargs)

    def execute(self) -> None:
        sampler = DistributedSampler(self.train_set) if self.distributed else None
        loader = DataLoader(self.train_set, batch_size=32, shuffle=sampler is None, sampler=sampler)
        self.logger.create_logger_context(rank=self.rank)
        self.logger.save_hyperparameters(self.config)
        self.log(self.train_set, "digits", kind="dataset", context="training")
        self.log(self.model, "net", kind="graph")
        self.log(self.model, "net", kind="watch", log="gradients", log_freq=20)
        for epoch in range(self.epochs):
            if sampler is not None:
                sampler.set_epoch(epoch)
            self.train_epoch(loader, epoch)
            self.test_epoch(epoch)
        self.log(self.model, "net", kind="model", step=self.epochs - 1, input_example=self.example)
        self.logger.destroy_logger_context()

    def train_epoch(self, loader: DataLoader, epoch: int) -> None:
        self.model.train()
        total = torch.zeros((), device=self.device)
        for batch_idx, (images, labels) in enumerate(loader):
            loss = cross_entropy(self.model(images.to(self.device)), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(labels)
            step = epoch * len(loader) + batch_idx
            self.log(loss, "train/batch_loss", step=step, batch_idx=batch_idx, reduce="stats", weight=len(labels))
        count = len(loader.sampler)
        self.log(total / count, "train/loss", step=epoch, reduce="mean", weight=count, goal="min", context="training")

    @torch.no_grad()
    def test_epoch(self, epoch: int) -> None:
        self.model.eval()
        images, labels = (tensor.to(self.device) for tensor in self.test_set.tensors)
        codes = self.net.features(images)
        scores = self.net.classify(codes).softmax(1)
        said = scores.argmax(1)
        accuracy = float((said == labels).double().mean())
        self.log(accuracy, "val/accuracy", step=epoch, goal="max", context="validation")
        self.log(confusion(labels.cpu(), said.cpu()), "val/confusion", kind="figure", step=epoch)
        wrong = (said != labels).nonzero().flatten()[:8].tolist()
        if wrong:
            captions = [f"{int(labels[i])} taken for {int(said[i])}" for i in wrong]
            self.log([images[i] for i in wrong], "val/wrong", kind="image", step=epoch, caption=captions)
        self.log(((labels == 8).int(), scores[:, 8]), "val/eights", kind="pr_curve", step=epoch)
        if accuracy > self.best:
            self.best = accuracy
            registry = {"registered_model_name": "digits", "alias": "champion"}
            self.log(self.model, "best", kind="best_model", step=epoch, input_example=self.example, **registry)
        if epoch == self.epochs - 1:
            options = {"metadata": labels.tolist(), "label_img": images}
            self.log(codes, "val/codes", kind="embedding", step=epoch, **options)


def confusion(labels: torch.Tensor, said: torch.Tensor):
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    axes = Figure(figsize=(5, 5)).add_subplot()
    ConfusionMatrixDisplay.from_predictions(labels, said, ax=axes, colorbar=False)
    return axes.figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--savedir", default="mllogs")
    parser.add_argument("--backends", default="console,mlflow,tensorboard")
    args = parser.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    common = {"savedir": args.savedir, "experiment": "digits", "log_freq": 10}
    logger = LoggersCollection([LOGGERS[name](**common) for name in args.backends.split(",")])
    Trainer(logger, args.epochs, args.lr).execute()
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
