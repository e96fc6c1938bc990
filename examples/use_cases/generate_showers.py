"""Generative adversarial network for simulated showers of energy in the calorimeter of a particle detector.

    torchrun --nproc-per-node 2 examples/use_cases/generate_showers.py

It logs both losses of every fifth batch and of each epoch, generated showers as images, and a video of their progress
at the end. Further items are histograms of generated and real energies, operation counts and time, gradients of both
networks, checkpoints by reference, and an alert if a loss is not finite.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ranklog.loggers import Logger, create_logger

CELLS = 12
NOISE = 16
BATCH = 64
BATCHES = 15


def showers(count: int, generator: torch.Generator) -> torch.Tensor:
    """Simulated energy in CELLS by CELLS cells: a core with random position and width, and noise."""
    axis = torch.arange(CELLS, dtype=torch.float32)
    centre = CELLS / 2 + torch.randn(count, 2, generator=generator)
    width = 1.0 + torch.rand(count, 1, 1, generator=generator)
    distance = (axis[None, :, None] - centre[:, :1, None]) ** 2 + (axis[None, None, :] - centre[:, 1:, None]) ** 2
    energy = torch.exp(-distance / (2 * width**2)) * (0.7 + 0.3 * torch.rand(count, 1, 1, generator=generator))
    return (energy + 0.01 * torch.rand(count, CELLS, CELLS, generator=generator)).clamp(0, 1)


def own_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


class Gan:
    """Two networks that train each other.

    Args:
        logger: Receives everything.
        epochs: Number of epochs.
        lr: Learning rate of both networks.
        savedir: Folder for checkpoints.
    """

    def __init__(self, logger: Logger, epochs: int, lr: float, savedir: str) -> None:
        self.logger = logger
        self.epochs = epochs
        self.config = {"epochs": epochs, "lr": lr, "noise": NOISE, "cells": CELLS, "batch_size": BATCH}
        self.folder = Path(savedir).absolute() / "checkpoints"
        self.device = own_device()
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        torch.manual_seed(0)
        generator = nn.Sequential(
            nn.Linear(NOISE, 64), nn.ReLU(), nn.Linear(64, CELLS * CELLS), nn.Sigmoid(), nn.Unflatten(1, (CELLS, CELLS))
        )
        critic = nn.Sequential(nn.Flatten(), nn.Linear(CELLS * CELLS, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        wrap = DistributedDataParallel if dist.is_initialized() else lambda net: net
        self.generator, self.critic = wrap(generator.to(self.device)), wrap(critic.to(self.device))
        self.steps = [torch.optim.Adam(net.parameters(), lr=lr) for net in (self.generator, self.critic)]
        self.random = torch.Generator().manual_seed(self.rank)
        self.fixed = torch.randn(9, NOISE, generator=torch.Generator().manual_seed(7)).to(self.device)

    def log(self, item, identifier, kind="metric", step=None, batch_idx=None, **kwargs) -> None:
        self.logger.log(item, identifier, kind=kind, step=step, batch_idx=batch_idx, **kwargs)

    def execute(self) -> None:
        self.logger.create_logger_context()
        self.logger.save_hyperparameters(self.config)
        self.log((self.generator, torch.zeros(BATCH, NOISE, device=self.device)), "flops/generator", kind="flops_pb")
        for name, net in (("generator", self.generator), ("critic", self.critic)):
            self.log(net, name, kind="watch", log="all", log_freq=BATCHES)
        film = []
        for epoch in range(self.epochs):
            self.train_epoch(epoch)
            film.append(self.show(epoch))
            self.log(None, "seconds", kind="execution_time", step=epoch)
        self.log(torch.stack(film), "showers/film", kind="video", step=self.epochs - 1, fps=4)
        self.save()
        self.logger.destroy_logger_context()

    def train_epoch(self, epoch: int) -> None:
        sums = torch.zeros(2, device=self.device)
        for batch_idx in range(BATCHES):
            losses = self.train_batch()
            sums += torch.stack(losses).detach()
            step = epoch * BATCHES + batch_idx
            for name, loss in zip(("generator", "critic"), losses, strict=True):
                self.log(loss, f"batch/{name}", step=step, batch_idx=batch_idx, reduce="mean")
        for name, value in zip(("generator", "critic"), (sums / BATCHES).tolist(), strict=True):
            self.log(value, f"epoch/{name}", step=epoch, reduce="mean", context="training")
            if not math.isfinite(value):
                self.log(
                    f"the loss of the {name} is {value}", f"{name} diverged", kind="alert", step=epoch, level="error"
                )

    def train_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        real = showers(BATCH, self.random).to(self.device)
        fake = self.generator(torch.randn(BATCH, NOISE, generator=self.random).to(self.device))
        judged = self.critic(torch.cat([real, fake.detach()]))
        ones = torch.ones(BATCH, 1, device=self.device)
        critic_loss = cross_entropy(judged, torch.cat([ones, torch.zeros_like(ones)]))
        self.steps[1].zero_grad()
        critic_loss.backward()
        self.steps[1].step()
        generator_loss = cross_entropy(self.critic(fake), ones)
        self.steps[0].zero_grad()
        generator_loss.backward()
        self.steps[0].step()
        return generator_loss, critic_loss

    @torch.no_grad()
    def show(self, epoch: int) -> torch.Tensor:
        """Log generated showers, and return nine of them as one image."""
        made = self.generator(self.fixed)
        self.log(list(made[:4]), "showers/made", kind="image", step=epoch)
        self.log(made.sum((1, 2)), "energy/made", kind="histogram", step=epoch, bins=20)
        if epoch == 0:
            self.log(showers(500, self.random).sum((1, 2)), "energy/data", kind="histogram", bins=20)
        return made.view(3, 3, CELLS, CELLS).transpose(1, 2).reshape(3 * CELLS, 3 * CELLS)

    def save(self) -> None:
        """Save a checkpoint and log its address with digests, without a copy.

        Each run has its own folder, because files logged by reference must never be written again.
        """
        if self.rank == 0:
            folder = self.folder / self.logger.ranklog_run_id
            folder.mkdir(parents=True)
            for name, net in (("generator", self.generator), ("critic", self.critic)):
                torch.save(net.state_dict(), folder / f"{name}.pt")
            self.log(folder, "checkpoint", kind="model", step=self.epochs - 1, policy="reference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--savedir", default="mllogs")
    parser.add_argument("--backends", default="console,mlflow,tensorboard")
    args = parser.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    logger = create_logger(args.backends, savedir=args.savedir, experiment="showers", log_freq=5)
    Gan(logger, args.epochs, args.lr, args.savedir).execute()
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
