"""Train a small convolutional network on scikit-learn's handwritten digits, on any number of ranks.

Every rank runs the same code and makes the same calls. Start it alone, or with torchrun:

    torchrun --nproc-per-node 2 examples/train_digits.py --backends mlflow,tensorboard
"""

from __future__ import annotations

import argparse
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from ranklog import create_logger, rank_zero_print


class DigitsNet(nn.Module):
    """Two convolutions and a linear layer for images of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.classify = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(images).flatten(1))


def load_data() -> tuple[TensorDataset, TensorDataset]:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--savedir", default="mllogs")
    parser.add_argument("--backends", default=None, help="for example mlflow,tensorboard")
    args = parser.parse_args()

    if "RANK" in os.environ:  # set by torchrun and slurm/srun.sbatch
        dist.init_process_group("gloo")
    torch.manual_seed(0)
    train_data, test_data = load_data()
    distributed = dist.is_initialized()
    train_sampler = DistributedSampler(train_data, seed=0) if distributed else None
    test_sampler = DistributedSampler(test_data, shuffle=False) if distributed else None
    train_loader = DataLoader(train_data, args.batch_size, sampler=train_sampler, shuffle=train_sampler is None)
    test_loader = DataLoader(test_data, 128, sampler=test_sampler)
    net = DigitsNet()
    model = DistributedDataParallel(net) if distributed else net
    optimizer = torch.optim.Adam(model.parameters(), args.lr)
    loss_of = nn.CrossEntropyLoss()

    logger = create_logger(args.backends, savedir=args.savedir, log_freq=5, experiment="digits")
    with logger.start_logging():
        logger.save_hyperparameters({**vars(args), "optimizer": {"name": "adam", "lr": args.lr}})
        step = 0
        for epoch in range(args.epochs):
            if train_sampler is not None:
                train_sampler.set_epoch(epoch)
            model.train()
            for batch_idx, (images, labels) in enumerate(train_loader):
                optimizer.zero_grad()
                loss = loss_of(model(images), labels)
                loss.backward()
                optimizer.step()
                logger.log(loss, "train/loss", step=step, batch_idx=batch_idx, reduce="mean", weight=len(labels))
                step += 1

            model.eval()
            with torch.no_grad():
                for images, labels in test_loader:
                    scores = model(images)
                    logger.log_metrics(
                        {
                            "test/loss": loss_of(scores, labels),
                            "test/accuracy": (scores.argmax(1) == labels).float().mean(),
                        },
                        step=epoch,
                        reduce="mean",
                        weight=len(labels),
                    )
            rank_zero_print(f"epoch {epoch + 1}/{args.epochs} done", flush=True)
        logger.log(net, "digits-net", kind="model", input_example=train_data.tensors[0][:4])

    if distributed:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
