"""Train the same network with the same data on any runtime, and log the same loss: the mean over all ranks.

    python examples/runtimes/train.py single
    torchrun --nproc-per-node 2 examples/runtimes/train.py torch
    DS_ACCELERATOR=cpu torchrun --nproc-per-node 2 examples/runtimes/train.py deepspeed
    horovodrun -np 2 python examples/runtimes/train.py horovod
    mpirun -n 2 python examples/runtimes/train.py mpi
    srun -n 2 --mpi=pmix python examples/runtimes/train.py mpi
    python examples/runtimes/train.py ray --workers 2

Only the connection of the ranks and the averaging of gradients differ. The logging calls are the same everywhere.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn

from ranklog import create_logger

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""One step of the optimizer on a batch of this rank; returns the loss of the batch."""

GLOBAL_BATCH = 64
LEARNING_RATE = 0.1
loss_of = nn.CrossEntropyLoss()


def network() -> nn.Module:
    """Network with the same weights on every rank and runtime."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """Step for runtimes that average the gradients automatically."""

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), LEARNING_RATE)


def join_single() -> tuple[int, int, Step]:
    model = network()
    return 0, 1, plain_step(model, sgd(model))


def join_torch() -> tuple[int, int, Step]:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(network())
    return dist.get_rank(), dist.get_world_size(), plain_step(model, sgd(model))


def join_deepspeed(zero_stage: int = 0) -> tuple[int, int, Step]:
    import deepspeed

    deepspeed.init_distributed(dist_backend="gloo")
    model = network()
    config = {
        "train_micro_batch_size_per_gpu": GLOBAL_BATCH // deepspeed.comm.get_world_size(),
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,  # plain SGD
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=sgd(model), config=config)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = loss_of(engine(images), labels)
        engine.backward(loss)
        engine.step()
        return loss

    return deepspeed.comm.get_rank(), deepspeed.comm.get_world_size(), step


def join_horovod() -> tuple[int, int, Step]:
    import horovod.torch as hvd

    hvd.init()
    model = network()
    optimizer = hvd.DistributedOptimizer(sgd(model), named_parameters=model.named_parameters())
    return hvd.rank(), hvd.size(), plain_step(model, optimizer)


def join_mpi() -> tuple[int, int, Step]:
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    model = network()
    optimizer = sgd(model)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            world.Allreduce(MPI.IN_PLACE, parameter.grad.numpy(), MPI.SUM)
            parameter.grad /= world.size
        optimizer.step()
        return loss

    return world.rank, world.size, step


def join_ray() -> tuple[int, int, Step]:
    """Train on one worker of Ray Train."""
    import ray.train
    import ray.train.torch

    model = ray.train.torch.prepare_model(network())
    context = ray.train.get_context()
    return context.get_world_rank(), context.get_world_size(), plain_step(model, sgd(model))


def train(join: Callable[[], tuple[int, int, Step]], args: argparse.Namespace) -> None:
    """Train and log on one rank."""
    rank, world_size, step = join()
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16.0, torch.tensor(digits.target)
    logger = create_logger(
        args.log_to, savedir=args.savedir, experiment="runtimes", log_freq="batch", strategy=args.strategy
    )
    with logger.start_logging():
        logger.save_hyperparameters({"runtime": args.runtime, "lr": LEARNING_RATE, "world_size": world_size})
        for number in range(args.steps):
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(number))
            mine = order[rank:GLOBAL_BATCH:world_size]
            loss = step(images[mine], labels[mine])
            values = {"train/loss": loss, "train/norm": images[mine].norm()}
            logger.log_metrics(values, step=number, batch_idx=number, reduce="mean", weight=len(mine))
            logger.log(loss, "loss_spread", step=number, batch_idx=number, reduce="stats")


def with_ray(args: argparse.Namespace) -> None:
    """Start the workers of Ray. Other runtimes are started by their launcher."""
    import ray.train
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        functools.partial(train, join_ray, args), scaling_config=ray.train.ScalingConfig(num_workers=args.workers)
    )
    trainer.fit()


RUNTIMES = {
    "single": join_single,
    "torch": join_torch,
    "deepspeed": join_deepspeed,
    "deepspeed-zero1": functools.partial(join_deepspeed, zero_stage=1),
    "horovod": join_horovod,
    "mpi": join_mpi,
    "ray": join_ray,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("--strategy", default="auto", help="auto, or the name of a strategy")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2, help="number of workers, for Ray")
    parser.add_argument("--savedir", default="mllogs")
    parser.add_argument("--log-to", default=None, help="for example mlflow,tensorboard")
    args = parser.parse_args()
    if args.runtime == "ray":
        with_ray(args)
    else:
        train(RUNTIMES[args.runtime], args)


if __name__ == "__main__":
    main()
