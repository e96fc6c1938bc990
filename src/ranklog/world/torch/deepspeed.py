"""Ranks of DeepSpeed, whose communication is torch.distributed's default group.

``deepspeed.init_distributed`` or ``deepspeed.initialize`` initialises that group, with any backend; ranklog builds a
gloo group of its own beside it, as for torch. In: the group. Out: a `Place` and a `World`. deepspeed is never imported.
"""

from __future__ import annotations

import threading

import msgspec

from ranklog.abc import World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.torch.strategy import TorchStrategy


class DeepSpeedStrategy(msgspec.Struct, frozen=True):
    """Ranks that ``deepspeed.init_distributed`` has joined."""

    rank: int | None = None
    name: str = "deepspeed"

    def place(self) -> Place:
        """The group's place once it is initialised, before that the launcher's.

        Raises:
            InvalidArgumentError: the given rank is another one.
        """
        return TorchStrategy(self.rank).place()

    def ready(self) -> bool:
        """Whether DeepSpeed, or the program itself, has initialised torch.distributed."""
        return TorchStrategy(self.rank).ready()

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Gloo groups of ranklog's own over the default group's store."""
        if not self.ready():
            raise WorldError("DeepSpeed has initialised no process group: call deepspeed.init_distributed first")
        return TorchStrategy(self.rank).connect(channel=channel, timeout_s=timeout_s, stop=stop)
