"""Ranks of torch.distributed and DeepSpeed. Importing this package does not import torch."""

from ranklog.world.torch.deepspeed import DeepSpeedStrategy
from ranklog.world.torch.strategy import (
    TorchStrategy,
    connect_over,
    connect_torch,
    distributed_module,
    initialised_group,
    initialised_place,
)

__all__ = [
    "DeepSpeedStrategy",
    "TorchStrategy",
    "connect_over",
    "connect_torch",
    "distributed_module",
    "initialised_group",
    "initialised_place",
]
